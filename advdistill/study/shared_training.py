"""Cells that differ in batch-norm's statistics alone share one training, up to its last epoch."""

from collections.abc import Callable, Iterable
from functools import partial
from shutil import copyfile

from .._internal.files import write_atomic
from ..recipe import Recipe
from ..run import Run
from .matrix import Cell

__all__ = ["continue_from_sibling"]


def continue_from_sibling(cell: Cell, cells: Iterable[Cell], run_of: Callable[[Cell], Run]) -> Cell | None:
    """Give a cell's run the state of a finished run that trained alike, saved before its last epoch.

    The cell is then trained and validated as if it had been resumed there, with the same result bit for bit. Nothing is
    done where the cell has begun, where no such run has finished, or where epochs before the last are validated: the
    statistics then choose the best epoch.

    Args:
        cells: of the study.
        run_of: the run of a cell.

    Returns:
        The cell whose state it was, `None` where nothing was done.
    """
    run = run_of(cell)
    training = _training(cell.recipe)
    if run.begun or training is None:
        return None
    for sibling in cells:
        source = run_of(sibling)
        if _training(sibling.recipe) == training and source.last.exists() and source.previous_state.exists():
            with run.writing(cell.recipe):
                write_atomic(run.metrics, partial(copyfile, source.metrics))
                write_atomic(run.state, partial(copyfile, source.previous_state))  # last: with it the run has begun
            return sibling
    return None


def _training(recipe: Recipe) -> Recipe | None:
    """The recipe less what its validation after the last epoch alone depends on; `None` if there are earlier ones."""
    if recipe.validate_every < recipe.epochs:
        return None
    return recipe.replace(statistics="training", statistics_images=1, select_by="robust")
