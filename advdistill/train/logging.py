"""Figures of a run as it goes: `metrics.jsonl`, and TensorBoard where it is installed."""

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .._internal.files import append, explained, write_atomic, write_json
from .._internal.messages import unknown
from .._internal.optional import require
from .._internal.reading import printable, read_text
from ..recipe import to_config
from ..run import Run

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric.loggers import Logger

__all__ = ["Metrics", "read", "Trackers", "check", "Reporter"]

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


NAME = "advdistill"  # of the project, the experiment, where the environment names none


def check(loggers: Sequence["str | Logger"]) -> None:
    """Raise ValueError for an unknown name, ImportError for a package that is missing."""
    for name in (logger for logger in loggers if isinstance(logger, str)):
        if name not in KINDS:
            raise unknown("logger", name, KINDS)
        for package in (name, "pytorch_lightning"):
            require(package, f"The logger {name}", name)


class Trackers:
    """While entered, `log` gives each logger a row; one that cannot take it is named, and stops nothing.

    A run keeps what W&B and MLflow call it, so that a continuation goes on in the same place.

    Raises:
        ValueError: a logger cannot begin, without access to its server for one; on entering.
    """

    def __init__(self, loggers: Sequence["str | Logger"], run: Run, say: Callable[[str], None]):
        self.wanted, self.run, self.say = loggers, run, say
        self.known = run.folder / "loggers.json"
        self.made: list[tuple[str, Any]] = []

    def __enter__(self) -> "Trackers":
        for wanted in dict.fromkeys(self.wanted):  # each once
            name = wanted if isinstance(wanted, str) else type(wanted).__name__
            try:
                logger = self._begin(name) if isinstance(wanted, str) else wanted
                self.made.append((name, logger))
                with suppress(NotImplementedError):  # Lightning's own of CSV files
                    logger.log_hyperparams(to_config(self.run.recipe))
            except Exception as error:  # each has a hierarchy of its own
                self.__exit__(type(error), error, None)  # those that have begun
                raise ValueError(f"The logger {name} cannot begin: {printable(error)}") from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._each(lambda name, logger: logger.finalize("failed" if kind else "success"))
        self._each(lambda name, logger: name == "wandb" and logger.experiment.finish(exit_code=int(kind is not None)))

    def log(self, row: Mapping[str, float]) -> None:
        self._each(lambda name, logger: logger.log_metrics(row, step=row["step"]))

    def _begin(self, name: str) -> Any:
        ids = _ids(self.known)
        logger = KINDS[name](self.run, ids.get(name))
        logger.experiment  # noqa: B018  it is begun now, or refused
        write_json(self.known, ids | {name: logger.version})
        return logger

    def _each(self, use: Callable[[str, Any], object]) -> None:
        for name, logger in list(self.made):
            try:
                use(name, logger)
            except Exception as error:
                self.say(f"The logger {name} has failed and is left out from now on: {printable(error)}")
                self.made.remove((name, logger))


def _ids(path: Path) -> dict[str, str]:
    try:
        ids = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: str(value) for name, value in ids.items()} if isinstance(ids, dict) else {}


def _wandb(run: Run, known: str | None) -> Any:
    from pytorch_lightning.loggers import WandbLogger

    project = os.environ.get("WANDB_PROJECT", NAME)
    return WandbLogger(run.folder.name, run.folder, known or secrets.token_hex(8), project=project)


def _mlflow(run: Run, known: str | None) -> Any:
    import mlflow
    from pytorch_lightning.loggers import MLFlowLogger

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", NAME)
    return MLFlowLogger(experiment, run.folder.name, tracking_uri=mlflow.get_tracking_uri(), run_id=known)


KINDS = {"mlflow": _mlflow, "wandb": _wandb}


class Reporter:
    """Prints nothing on processes other than the first."""

    def __init__(self, title: str, total: int, done: int, show: bool):
        self.show, self.console = show, Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f}%",
            TimeElapsedColumn(), "eta", TimeRemainingColumn(), TextColumn("{task.fields[losses]}"),
            console=self.console, disable=not (show and self.console.is_terminal), transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task(title, total=total, completed=done, losses="")

    def __enter__(self) -> "Reporter":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, done: int, losses: dict[str, float] | None = None) -> None:
        self.bar.update(self.task, completed=done)
        if losses:
            self.bar.update(self.task, losses="  ".join(f"{name} {value:.3f}" for name, value in losses.items()))

    def say(self, text: str) -> None:
        if self.show:
            self.console.print(text)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """A line of what `metrics.jsonl` says of an epoch."""
        losses = " ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss/"))
        figures = " ".join(f"{name} {row[name]:.1%}" for name in ("clean", "robust") if name in row)
        validation = f"  validation {figures}" if figures else ""
        self.say(f"epoch {row['epoch']:>3}/{epochs}  loss {losses}{validation}  {row['seconds']:.1f} s")
