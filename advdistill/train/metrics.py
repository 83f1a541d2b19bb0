"""Figures of a run as it goes: `metrics.jsonl`, and TensorBoard where it is installed."""

import json
from pathlib import Path
from typing import Any

from ..files import append, explained, write_atomic
from ..reading import read_text

__all__ = ["Metrics", "read"]


class Metrics:
    """Rows of named numbers, one per epoch, each on the disk at once.

    Attributes:
        rows: those written so far, by earlier processes included.

    Args:
        path: the `metrics.jsonl`; TensorBoard's files go to a folder beside it.
        step: what was written after this step belongs to a lost continuation, and is dropped.
    """

    def __init__(self, path: Path, step: int):
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._drop_after(step)
        self.board = _tensorboard(path.parent / "tensorboard", step)

    def write(self, row: dict[str, float]) -> None:
        append(self.path, json.dumps(row) + "\n")
        self.rows.append(row)
        if self.board:
            with explained(self.path.parent / "tensorboard"):
                for name, value in row.items():
                    self.board.add_scalar(name, value, row["step"])
                self.board.flush()

    def _drop_after(self, step: int) -> None:
        if self.path.exists():
            self.rows = [row for row in read(self.path) if row["step"] <= step]
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_atomic(self.path, lambda temporary: temporary.write_text(text))


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.jsonl`, without a line in the middle of which the process died; none without a file."""
    return [row for line in read_text(path).splitlines() if (row := _row(line))] if path.exists() else []


def _row(line: str) -> dict[str, float] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and {"step", "epoch"} <= row.keys()
    return row if whole and all(_is_number(value) for value in row.values()) else None


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and would be written through; take it away.")
    with explained(folder):
        return SummaryWriter(str(folder), purge_step=step + 1)
