"""A worker takes cells of a study one after another, trains and evaluates each, and saves its figures.

A study's folder holds `runs/CELL`, an ordinary run, and `results/CELL`: the result, its verdicts, the recipe and the
cost, small enough to be committed; a cell that has them is done wherever the folder is copied to.
"""

import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from shutil import copyfile
from typing import TypedDict

import torch
from filelock import FileLock, Timeout
from typeguard import TypeCheckError, check_type

from .. import data, models
from .._internal.files import make_folder, write_atomic, write_json
from .._internal.messages import first_line
from .._internal.optional import installed
from .._internal.reading import read_text
from ..evaluation import evaluate
from ..methods.cost import passes
from ..models.checkpoint import provenance
from ..recipe import Recipe
from ..results.files import ResultFiles
from ..results.metrics import read_metrics
from ..results.result import Result
from ..results.selection import Selection
from ..run import Run
from ..train.attack_schedule import attack_at
from ..train.inputs import network_digest
from ..train.schedule import epochs_of
from ..train.signals import Interrupted
from .matrix import Cell, Study
from .shared_training import distill_cell

__all__ = ["Cost", "StudyFolder", "work"]

PAUSE = 0.5  # seconds between two looks for cells that other workers leave
COST = "cost.json"  # written last: a cell with it is done
Say = Callable[[str], None]


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
    """The files of a study."""

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self.wanted = {attack.name for attack in study.suite}

    def run(self, cell: Cell) -> Run:
        return Run(self.folder / "runs" / cell.name)

    def results(self, cell: Cell) -> Path:
        return self.folder / "results" / cell.name

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
        measured = {m.attack for m in result.measurements if self.study.n in (None, m.n)}
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
        there, files = self.results(cell), ResultFiles(self.run(cell).result)
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


def work(folder: StudyFolder, say: Say, only: list[Cell] | None = None) -> bool:
    """Take cells until all are done or have failed, those of workers that were killed too.

    Args:
        only: of these cells.
        say: receives a line for each cell.

    Returns:
        Whether all of these are done.

    Raises:
        ValueError: the results of a cell are of another recipe.
        train.signals.Interrupted: the worker was asked to stop; what it had is saved.
    """
    began, cells = time.time(), folder.study.cells if only is None else only
    while True:
        left = [cell for cell in cells if not folder.done(cell)]
        open_cells = [cell for cell in left if folder.why_failed(cell, since=began) is None]
        if not open_cells:
            return not left
        if not any([_take(folder, cell, began, say) for cell in open_cells]):
            time.sleep(PAUSE)


def _take(folder: StudyFolder, cell: Cell, began: float, say: Say) -> bool:
    """Train and evaluate a cell, unless another worker has it or has done it; whether this one did."""
    with folder.taken(cell) as mine:
        if not mine or folder.done(cell) or folder.why_failed(cell, since=began) is not None:
            return False
        try:
            with folder.logged(cell):
                result, cost = _measure(folder, cell)
        except Interrupted:
            raise
        except Exception as error:  # the methods and networks of cells are anybody's code
            why = first_line(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
            folder.fail(cell, why)
            say(f"{cell.name}: FAILED: {why}")
            return True
        folder.save(cell, cost)
        figures = ", ".join(f"{m.attack} {100 * m.accuracy:.1f} %" for m in result.measurements)
        say(f"{cell.name}: {figures}; {cost['seconds']:.0f} s of training")
        return True


def _measure(folder: StudyFolder, cell: Cell) -> tuple[Result, Cost]:
    study, run, used = folder.study, folder.run(cell), cell.recipe.data
    test = data.load(used.name, "test", used.folder, used.size, used.stream or None, **used.reading)
    if study.n is not None:
        test.first(study.n)  # refused before the training
    distill_cell(cell, study.cells, folder.run)
    files = ResultFiles(run.result)
    with files.writing():
        network, began = models.load(run.student_reference), time.monotonic()
        result = evaluate(
            network, test, cell.recipe.attack.threat, attacks=study.suite, n=study.n, name=cell.name,
            keep=files.unfinished, device="cuda" if torch.cuda.is_available() else None,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        chosen = Selection.from_header(provenance(run.best), test.fingerprint())
        result = files.store(replace(result, chosen=chosen, command=f"advdistill study {study.source}"))
    return result, _cost(cell.recipe, run, time.monotonic() - began)


def _cost(recipe: Recipe, run: Run, evaluation: float) -> Cost:
    rows = read_metrics(run.metrics)
    return {
        "seconds": sum(row["seconds"] for row in rows),
        "evaluation_seconds": evaluation,
        "steps": int(rows[-1]["step"]),
        "passes": _passes(recipe, [int(row["step"]) for row in rows]),
        "teachers": {role: network_digest(models.load(one)) for role, one in recipe.references.items()},
        "machine": f"{_processor()}, {torch.get_num_threads()} threads",
        "versions": installed("advdistill", "torch"),
    }


def _passes(recipe: Recipe, ends: list[int]) -> dict[str, int]:
    """Forward passes of each network over the epochs, which end at these steps; at most, where the attack may stop."""
    counts: Counter[str] = Counter()
    for epoch, (begin, end) in enumerate(pairwise([0, *ends])):
        attack_steps = getattr(attack_at(recipe, recipe.attack, epoch), "steps", 0)
        perturbed = recipe.awp is not None and epoch >= epochs_of(recipe.awp_begin, recipe.epochs)
        a_step = passes(recipe.method, attack_steps, perturbed, given=recipe.references)
        counts.update({role: (end - begin) * count for role, count in a_step.items()})
    return dict(counts)


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
