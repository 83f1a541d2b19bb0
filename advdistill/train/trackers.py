"""Trackers of experiments beside `metrics.jsonl`: W&B and MLflow by name, through Lightning's loggers, or your own."""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..files import write_json
from ..names import unknown
from ..optional import require
from ..reading import printable, read_text
from ..recipe import to_config
from ..run import Run

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric.loggers import Logger

__all__ = ["Trackers", "check"]

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
