"""The files of a study: `runs/CELL`, an ordinary run, and `results/CELL`, the figures of a cell that is done.

A cell's figures are its result, verdicts, recipe and cost, small enough to be committed; wherever the folder is copied
to, the cell is done. `held_out/CELL` has the same of the images that the run held out for validation.
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

COST = "cost.json"  # written last: a cell with it is done


class Cost(TypedDict):
    """What a cell's figures cost, and which teachers and machine they are of.

    Attributes:
        seconds, evaluation_seconds: of the training and of the evaluation.
        steps: of the optimiser.
        passes: forward passes of a batch over the training, by network.
        teachers: their digests, by role.
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
        held_out: whether the cells are evaluated on the training images that each run held out for validation, all of
            them, instead of the test split.
    """

    def __init__(self, folder: Path, study: Study, held_out: bool = False):
        self.folder, self.study, self.held_out = folder, study, held_out
        self.n = None if held_out else study.n
        self.wanted = {attack.name for attack in study.suite}

    def run(self, cell: Cell) -> Run:
        return Run(self.folder / "runs" / cell.name)

    def results(self, cell: Cell) -> Path:
        return self.folder / ("held_out" if self.held_out else "results") / cell.name

    def measured(self, cell: Cell) -> ResultFiles:
        """The result in the run's folder, before `save` copies it."""
        run = self.run(cell)
        return ResultFiles(run.folder / "held_out" / run.result.name if self.held_out else run.result)

    def done(self, cell: Cell) -> bool:
        """Whether the cell's figures are there, all that the study asks for.

        Raises:
            ValueError: they are of another recipe, or damaged.
        """
        there = self.results(cell)
        if not (there / COST).exists():
            return False
        Run(there).check(cell.recipe)
        result = Result.load(there / "result.json")
        measured = {m.attack for m in result.measurements if self.n in (None, m.n)}
        return self.wanted <= measured

    def why_failed(self, cell: Cell, since: float = 0) -> str | None:
        """Why the cell failed, if it did so after a time in seconds."""
        with suppress(FileNotFoundError, ValueError, KeyError):
            failure = json.loads(read_text(self._failure(cell)))
            return str(failure["why"]) if float(failure["time"]) >= since else None
        return None

    def fail(self, cell: Cell, why: str) -> None:
        make_folder(self._failure(cell).parent)
        write_json(self._failure(cell), {"why": why, "time": time.time()})

    @contextmanager
    def taken(self, cell: Cell) -> Iterator[bool]:
        """While entered, no other worker has the cell; False where another one has it. A killed one leaves it free."""
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
        """Copy the figures of a run, the cost last."""
        there, files = self.results(cell), self.measured(cell)
        make_folder(there)
        for file in (self.run(cell).recipe_file, files.verdicts, files.result):
            write_atomic(there / file.name, partial(copyfile, file))
        write_json(there / COST, cost)
        self._failure(cell).unlink(missing_ok=True)

    def cost(self, cell: Cell) -> Cost:
        """What the cell's figures cost. Raises ValueError if its file is damaged."""
        file = self.results(cell) / COST
        try:
            return check_type(json.loads(read_text(file)), Cost)
        except (ValueError, TypeCheckError):
            raise ValueError(f"{file} is damaged. Delete it, and run the study again.") from None

    @contextmanager
    def logged(self, cell: Cell) -> Iterator[None]:
        """While entered, what is printed to stderr goes to `logs/CELL.log`."""
        make_folder(self.folder / "logs")
        with (self.folder / "logs" / f"{cell.name}.log").open("a") as log, redirect_stderr(log):
            yield

    def _failure(self, cell: Cell) -> Path:
        return self.folder / "failures" / f"{cell.name}.json"
