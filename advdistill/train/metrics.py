"""Figures of a run as it goes: `metrics.jsonl`, and TensorBoard where it is installed."""

import json
from pathlib import Path

from ..files import write_atomic

__all__ = ["Metrics"]


class Metrics:
    """Rows of named numbers, one per epoch, each flushed at once.

    Args:
        path: the `metrics.jsonl`; TensorBoard's files go to a folder beside it.
        step: what was written after this step belongs to a lost continuation, and is dropped.
    """

    def __init__(self, path: Path, step: int):
        self.path = path
        self._drop_after(step)
        self.board = _tensorboard(path.parent / "tensorboard", step)

    def write(self, row: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.board:
            for name, value in row.items():
                self.board.add_scalar(name, value, row["step"])
            self.board.flush()

    def _drop_after(self, step: int) -> None:
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines(True) if _step(line) <= step]
            write_atomic(self.path, lambda temporary: temporary.write_text("".join(kept)))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:  # the process died while it wrote this line
        return float("inf")


def _tensorboard(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
