"""The files of a study: `runs/CELL`, an ordinary run, and `results/CELL`, the figures of a cell that is done.

A cell's figures are its result, verdicts, recipe and cost, small enough to be committed; in a copy of the folder, the
cell counts as done too. `held_out/CELL` has the same files for the images that the run held out for validation.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import TypedDict

from filelock import FileLock, Timeout
from typeguard import TypeCheckError, check_type

from .._internal.files import make_folder, write_atomic, write_json
from .._internal.reading import read_text
from ..results.files import ResultFiles
from ..results.result import Result
from ..run import Run
from .matrix import Cell, Study

__all__ = ["Cost", "StudyFolder"]

COST = "cost.json"  # written last: a cell without it is not done


class Cost(TypedDict):
    """What a cell's figures cost, and the teachers and the machine that they were measured with.

    Attributes:
        seconds, evaluation_seconds: duration of the training and of the evaluation.
        steps: number of optimiser steps.
        passes: number of forward passes of a batch in the whole training, by network.
        teachers: digests of the teachers, by role.
    """

    seconds: float
    evaluation_seconds: float
    steps: int
    passes: dict[str, int]
    teachers: dict[str, str]
    machine: str
    versions: dict[str, str]


class StudyFolder:
    """The files of a study.

    Args:
        held_out: whether the cells are evaluated on all training images that each run held out for validation, instead
            of the test split.
    """

    def __init__(self, folder: Path, study: Study, held_out: bool = False):
        self.folder, self.study, self.held_out = folder, study, held_out
        self.n = None if held_out else study.n
        self.required_attacks = {attack.name for attack in study.suite}

    def run(self, cell: Cell) -> Run:
        return Run(self.folder / "runs" / cell.name)

    def results(self, cell: Cell) -> Path:
        return self.folder / ("held_out" if self.held_out else "results") / cell.name

    def measured(self, cell: Cell) -> ResultFiles:
        """Return the result's files in the run's folder, before `save` copies them."""
        run = self.run(cell)
        return ResultFiles(run.folder / "held_out" / run.result.name if self.held_out else run.result)

    def done(self, cell: Cell) -> bool:
        """Return whether the cell's figures are saved, with all attacks of the study.

        Raises:
            ValueError: the figures belong to another recipe, or are damaged.
        """
        there = self.results(cell)
        if not (there / COST).exists():
            return False
        Run(there).check(cell.recipe)
        result = Result.load(there / "result.json")
        measured = {m.attack for m in result.measurements if self.n in (None, m.n)}
        return self.required_attacks <= measured

    def why_failed(self, cell: Cell, since: float = 0) -> str | None:
        """Return why the cell failed, or `None` if it has not failed since a time (Unix time in seconds)."""
        with suppress(FileNotFoundError, ValueError, KeyError):
            failure = json.loads(read_text(self._failure(cell)))
            return str(failure["why"]) if float(failure["time"]) >= since else None
        return None

    def fail(self, cell: Cell, why: str) -> None:
        make_folder(self._failure(cell).parent)
        write_json(self._failure(cell), {"why": why, "time": time.time()})

    @contextmanager
    def taken(self, cell: Cell) -> Iterator[bool]:
        """Lock the cell; yield False if another worker has locked it. A killed worker's lock is free again."""
        make_folder(self.folder / "locks")
        lock = FileLock(self.folder / "locks" / f"{cell.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def save(self, cell: Cell, cost: Cost) -> None:
        """Copy the figures from the run's folder, and write the cost last."""
        there, files = self.results(cell), self.measured(cell)
        make_folder(there)
        for file in (self.run(cell).recipe_file, files.verdicts, files.result):
            write_atomic(there / file.name, partial(copyfile, file))
        write_json(there / COST, cost)
        self._failure(cell).unlink(missing_ok=True)

    def cost(self, cell: Cell) -> Cost:
        """Return what the cell's figures cost. Raises ValueError if the file is damaged."""
        file = self.results(cell) / COST
        try:
            return check_type(json.loads(read_text(file)), Cost)
        except (ValueError, TypeCheckError):
            raise ValueError(f"{file} is damaged. Delete it, and run the study again.") from None

    @contextmanager
    def logged(self, cell: Cell) -> Iterator[None]:
        """Inside the `with` block, append what is printed to stderr to `logs/CELL.log`."""
        make_folder(self.folder / "logs")
        with (self.folder / "logs" / f"{cell.name}.log").open("a") as log, redirect_stderr(log):
            yield

    def _failure(self, cell: Cell) -> Path:
        return self.folder / "failures" / f"{cell.name}.json"
