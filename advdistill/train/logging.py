"""Writers of each epoch's metrics: `metrics.jsonl`, TensorBoard, and loggers such as W&B and MLflow."""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._internal.files import append, explained, write_atomic, write_json
from .._internal.messages import unknown
from .._internal.packages import require
from .._internal.reading import printable, read_text
from ..config import to_config
from ..results.metrics import read_metrics
from ..run import Run

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric.loggers import Logger

__all__ = ["Loggers", "Metrics", "check_loggers"]

PROJECT = "advdistill"  # project of W&B and experiment of MLflow, unless the environment names them


class Metrics:
    """Writer of `metrics.jsonl`, one row of named numbers per epoch, and of the same to TensorBoard if installed.

    Each row is on disk when `write` returns.

    Attributes:
        rows: all rows written so far, including those of earlier processes.

    Args:
        path: the `metrics.jsonl`; TensorBoard's files go to the folder `tensorboard` next to it.
        step: rows after this step are dropped; a resumed run writes them again.
    """

    def __init__(self, path: Path, step: int):
        self.path, self.folder = path, path.parent / "tensorboard"
        self.rows = [row for row in read_metrics(path) if row["step"] <= step]
        if path.exists():
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_atomic(path, lambda temporary: temporary.write_text(text))
        self.board = _tensorboard(self.folder, step)

    def write(self, row: dict[str, float]) -> None:
        """Append a row, which has at least `step` and `epoch`. Raises OSError if the disk is full."""
        append(self.path, json.dumps(row) + "\n")
        self.rows.append(row)
        if self.board:
            with explained(self.folder):
                for name, value in row.items():
                    self.board.add_scalar(name, value, row["step"])
                self.board.flush()


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # an optional dependency
    except ImportError:
        return None
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and logs are not written through links; delete the link.")
    with explained(folder):
        return SummaryWriter(str(folder), purge_step=step + 1)


class Loggers:
    """Context manager whose `log` sends a row to each logger; one that fails is reported and dropped.

    A failing logger does not stop the run. The run's ids at W&B and MLflow are saved in `loggers.json`, so that a
    resumed run logs to the same place.

    Args:
        loggers: names in `KINDS`, or Lightning loggers.
        say: prints a line.

    Raises:
        ValueError: on entering, a logger cannot start, e.g. without access to its server.
    """

    def __init__(self, loggers: Sequence["str | Logger"], run: Run, say: Callable[[str], None]):
        self.wanted, self.run, self.say = loggers, run, say
        self.file = run.folder / "loggers.json"
        self.running: list[tuple[str, Any]] = []

    def __enter__(self) -> "Loggers":
        for wanted in dict.fromkeys(self.wanted):  # without repetitions
            name = wanted if isinstance(wanted, str) else type(wanted).__name__
            try:
                logger = self._begin(name) if isinstance(wanted, str) else wanted
                self.running.append((name, logger))
                with suppress(NotImplementedError):  # Lightning's CSV logger
                    logger.log_hyperparams(to_config(self.run.recipe))
            except Exception as error:  # each logger has its own hierarchy of exceptions
                self.__exit__(type(error), error, None)  # ends those that have started
                raise ValueError(f"The logger {name} cannot start: {printable(error)}") from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._each(lambda name, logger: logger.finalize("failed" if kind else "success"))
        self._each(lambda name, logger: name == "wandb" and logger.experiment.finish(exit_code=int(kind is not None)))

    def log(self, row: Mapping[str, float]) -> None:
        self._each(lambda name, logger: logger.log_metrics(row, step=row["step"]))

    def _begin(self, name: str) -> Any:
        ids = _ids(self.file)
        logger = KINDS[name](self.run, ids.get(name))
        logger.experiment  # noqa: B018  starts the logger, or fails
        write_json(self.file, ids | {name: logger.version})
        return logger

    def _each(self, use: Callable[[str, Any], object]) -> None:
        for name, logger in list(self.running):
            try:
                use(name, logger)
            except Exception as error:
                self.say(f"The logger {name} has failed and is left out from now on: {printable(error)}")
                self.running.remove((name, logger))


def check_loggers(loggers: Sequence["str | Logger"]) -> None:
    """Raise ValueError for an unknown logger, ImportError for a missing package."""
    for name in (logger for logger in loggers if isinstance(logger, str)):
        if name not in KINDS:
            raise unknown("logger", name, KINDS)
        for package in (name, "pytorch_lightning"):
            require(package, f"The logger {name}", name)


def _ids(path: Path) -> dict[str, str]:
    """Return the run's id at each logger."""
    try:
        ids = json.loads(read_text(path))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: str(value) for name, value in ids.items()} if isinstance(ids, dict) else {}


def _wandb(run: Run, known: str | None) -> Any:
    from pytorch_lightning.loggers import WandbLogger  # an optional dependency

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    return WandbLogger(run.folder.name, run.folder, known or secrets.token_hex(8), project=project)


def _mlflow(run: Run, known: str | None) -> Any:
    import mlflow  # an optional dependency
    from pytorch_lightning.loggers import MLFlowLogger

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    return MLFlowLogger(experiment, run.folder.name, tracking_uri=mlflow.get_tracking_uri(), run_id=known)


KINDS = {"mlflow": _mlflow, "wandb": _wandb}
