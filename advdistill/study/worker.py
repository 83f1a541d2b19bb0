"""A worker takes cells of a study one after another, trains and evaluates each, and saves its figures."""

import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from .. import data, models
from .._internal.files import make_folder
from .._internal.messages import first_line
from .._internal.packages import installed
from ..evaluation import evaluate
from ..methods.cost import passes
from ..models.checkpoint import provenance
from ..recipe import Recipe
from ..results.metrics import read_metrics
from ..results.result import Result
from ..results.selection import Selection
from ..run import Run
from ..train.given import training_data
from ..train.inputs import network_digest
from ..train.schedule import attack_at, epochs_of
from ..train.signals import Interrupted
from .folder import Cost, StudyFolder
from .matrix import Cell
from .shared_training import distill_cell

__all__ = ["work"]

PAUSE = 0.5  # seconds between checks for cells that other workers left
Say = Callable[[str], None]


def work(folder: StudyFolder, say: Say, only: list[Cell] | None = None) -> bool:
    """Train and evaluate cells until all are done or have failed, including those of workers that were killed.

    Args:
        only: the cells to choose from; `None` means all.
        say: receives a line for each cell.

    Returns:
        Whether all of these cells are done.

    Raises:
        ValueError: the results of a cell belong to another recipe.
        train.signals.Interrupted: the worker was asked to stop; its progress is saved.
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
    """Train and evaluate a cell, unless another worker has it or has finished it; return whether this worker did."""
    with folder.taken(cell) as mine:
        if not mine or folder.done(cell) or folder.why_failed(cell, since=began) is not None:
            return False
        try:
            with folder.logged(cell):
                result, cost = _measure(folder, cell)
        except Interrupted:
            raise
        except Exception as error:  # the methods and networks of cells may be user code
            why = first_line(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
            folder.fail(cell, why)
            say(f"{cell.name}: FAILED: {why}")
            return True
        folder.save(cell, cost)
        figures = ", ".join(f"{m.attack} {100 * m.accuracy:.1f} %" for m in result.measurements)
        say(f"{cell.name}: {figures}; {cost['seconds']:.0f} s of training")
        return True


def _measure(folder: StudyFolder, cell: Cell) -> tuple[Result, Cost]:
    study, run = folder.study, folder.run(cell)
    images = _images(folder, cell.recipe)
    distill_cell(cell, study.cells, folder.run)
    files = folder.measured(cell)
    make_folder(files.result.parent)
    with files.writing():
        network, began = models.load(run.student_reference), time.monotonic()
        result = evaluate(
            network, images, cell.recipe.attack.threat, attacks=study.suite, n=folder.n, name=cell.name,
            accelerated=study.accelerated, keep=files.unfinished, device="cuda" if torch.cuda.is_available() else None,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        chosen = Selection.from_header(provenance(run.best), None if folder.held_out else images.fingerprint())
        result = files.store(replace(result, chosen=chosen, command=f"advdistill study {study.source}"))
    return result, _cost(cell.recipe, run, time.monotonic() - began)


def _images(folder: StudyFolder, recipe: Recipe) -> data.Split:
    """Return a cell's images for evaluation. Raises ValueError, before the training, if there are fewer than `n`."""
    if folder.held_out:
        return training_data(recipe, None, None, None)[-1]
    used = recipe.data
    test = data.load(used.name, "test", used.folder, used.size, used.stream or None, **used.reading)
    if folder.n is not None:
        test.first(folder.n)
    return test


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
    """Count each network's forward passes; epochs end at steps `ends`. An upper bound if the attack may stop early."""
    counts: Counter[str] = Counter()
    for epoch, (begin, end) in enumerate(pairwise([0, *ends])):
        attack_steps = getattr(attack_at(recipe, recipe.attack, epoch), "steps", 0)
        perturbed = recipe.awp is not None and epoch >= epochs_of(recipe.awp_begin, recipe.epochs)
        a_step = passes(recipe.method, attack_steps, perturbed, recipe.references, recipe.teacher_every)
        counts.update({role: (end - begin) * count for role, count in a_step.items()})
    return dict(counts)


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
