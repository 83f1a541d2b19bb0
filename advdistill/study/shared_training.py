"""Cells that differ only in batch-norm's statistics share one training, up to its last epoch."""

from collections.abc import Callable, Iterable
from functools import partial
from shutil import copyfile

from .._internal.files import write_atomic
from ..recipe import Recipe
from ..run import Run
from ..train import distill
from .matrix import Cell

__all__ = ["distill_cell"]


def distill_cell(cell: Cell, cells: Iterable[Cell], run_of: Callable[[Cell], Run]) -> None:
    """Train a cell; only its last epoch if a finished cell has had the same training until then.

    The result is the same bit for bit. A cell is trained alone if epochs before the last are validated, because the
    statistics then affect which epoch is best, and if the finished cell had other teachers or data.

    Args:
        cells: all cells of the study.
        run_of: returns the run of a cell.

    Raises what `distill` raises.
    """
    run = run_of(cell)
    if not run.begun and _continue_from_sibling(cell, cells, run_of):
        try:
            distill(cell.recipe, run.folder)
            return
        except ValueError:  # the finished cell had other teachers or data
            run.state.unlink(missing_ok=True)
            run.metrics.unlink(missing_ok=True)
    distill(cell.recipe, run.folder)


def _continue_from_sibling(cell: Cell, cells: Iterable[Cell], run_of: Callable[[Cell], Run]) -> bool:
    """Copy the state before the last epoch of a finished run with the same training; return whether there is one."""
    run, training = run_of(cell), _training(cell.recipe)
    for sibling in cells if training else ():
        source = run_of(sibling)
        if _training(sibling.recipe) == training and source.last.exists() and source.previous_state.exists():
            with run.writing(cell.recipe):
                write_atomic(run.metrics, partial(copyfile, source.metrics))
                write_atomic(run.state, partial(copyfile, source.previous_state))  # last: a run with a state has begun
            return True
    return False


def _training(recipe: Recipe) -> Recipe | None:
    """Return the recipe without what matters only after the last epoch; `None` if earlier epochs are validated."""
    if recipe.validate_every < recipe.epochs:
        return None
    return recipe.replace(statistics="training", statistics_images=1, select_by="robust")
