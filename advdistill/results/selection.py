"""How a checkpoint was chosen, and what the training lost after its best epoch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .result import Result

__all__ = ["Epoch", "Overfitting", "Selection", "held_out", "overfitting", "selection"]

Epoch = dict[str, float]
UNKNOWN = (
    "How this checkpoint was chosen is not recorded; published checkpoints are often picked on the test split, "
    "and their figures on it are then too high."
)
ON_TEST = "A checkpoint chosen on the split it is measured on flatters itself: these figures are too high."


@dataclass(frozen=True)
class Selection:
    """What is known of the choice.

    Attributes:
        said: where it is recorded, by what and on which images.
        among: how many checkpoints there were; `None` where that is said already or not known.
        flag: why the figures may be too high, or `None`.
    """

    said: str | None
    among: int | None
    flag: str | None


@dataclass(frozen=True)
class Overfitting:
    """Robust accuracy on held-out images, fractions: the best epoch's and the last one's."""

    epoch: int
    best: float
    last_epoch: int
    last: float

    @property
    def lost(self) -> float:
        return self.best - self.last


def selection(result: Result, epochs: Sequence[Epoch]) -> Selection:
    said = result.chosen
    if not said:
        return Selection(None, None, UNKNOWN)
    among = None if " among " in said else len(_validated(epochs)) or None
    return Selection(said, among, ON_TEST if said.startswith("chosen on the test split") else None)


def overfitting(epochs: Sequence[Epoch]) -> Overfitting | None:
    """`None` where no epoch was validated."""
    if not (validated := _validated(epochs)):
        return None
    best, last = max(validated, key=lambda row: row["robust"]), validated[-1]
    return Overfitting(int(best["epoch"]), best["robust"], int(last["epoch"]), last["robust"])


def held_out(result: Result) -> int | None:
    """How many images the validation had: the sentence of the choice alone says it."""
    found = re.search(r" on (\d+) held-out ", result.chosen or "")
    return int(found[1]) if found else None


def _validated(epochs: Sequence[Epoch]) -> list[Epoch]:
    return [row for row in epochs if "robust" in row]
