"""How a checkpoint was chosen, and how much accuracy was lost after the best epoch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from typeguard import TypeCheckError

from .._internal.reading import printable
from .plain import build

__all__ = ["Epoch", "Overfitting", "Selection", "overfitting"]

Epoch = dict[str, float]
By = Literal["robust", "clean", "mean"]
SAID = {"robust": "PGD-10 accuracy", "clean": "clean accuracy", "mean": "mean of clean and PGD-10 accuracy"}
KEY = "selection"  # in a checkpoint's header
UNKNOWN = (
    "How this checkpoint was chosen is not recorded; published checkpoints are often picked on the test split, "
    "and their figures on it are then too high."
)
ON_TEST = "This checkpoint was chosen on the split it is measured on: these figures are too high."


@dataclass(frozen=True)
class Selection:
    """How a checkpoint was chosen; `None` means unknown.

    Attributes:
        by: the accuracy by which it was chosen.
        images: number of images on which that accuracy was measured, held out from the training images.
        fingerprint: twelve hex digits that identify those images.
        among: number of checkpoints to choose from.
        epoch, epochs: the epoch after which it was saved, and the number of epochs.
        on_test: whether those images are the split on which the checkpoint is evaluated.
        statistics: images on which the batch-norm statistics were re-estimated; `None` if they are the training's.
        student_init: the weights that the student began with, if they are another network's.
        extra: the generated images that the student was trained on as well.
        changed: networks or data replaced when the run was resumed: "from epoch 3 on with other data (images)".
        text: a sentence in place of the fields, from a file of an earlier version or of another program.

    Example:
        >>> str(Selection(by="robust", images=118, among=40, epoch=34, epochs=40))
        'best PGD-10 accuracy on 118 held-out training images among 40 checkpoints, epoch 34 of 40'
    """

    by: By | None = None
    images: int | None = None
    fingerprint: str | None = None
    among: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    on_test: bool = False
    statistics: str | None = None
    student_init: str | None = None
    extra: str | None = None
    changed: str | None = None
    text: str | None = None

    def __str__(self) -> str:
        said = self.text if self.by is None else self._sentence(self.by)
        if self.on_test:
            return f"chosen on the test split itself, so every figure is too high: {said or 'how is not recorded'}"
        return said or ""

    def _sentence(self, by: By) -> str:
        among = "" if self.among is None else f" among {self.among} checkpoints"
        epoch = f"epoch {self.epoch} of {self.epochs}"
        chosen = f"best {SAID[by]} on {self.images} held-out training images{among}, {epoch}"
        statistics = f"; batch-norm statistics of {self.statistics}" if self.statistics else ""
        begun = f"; begun with {self.student_init}" if self.student_init else ""
        begun += f"; trained on {self.extra} as well" if self.extra else ""
        return chosen + statistics + begun + (f"; resumed {self.changed}" if self.changed else "")

    @property
    def warning(self) -> str | None:
        """Why the figures may be too high; `None` if there is no known reason."""
        return ON_TEST if self.on_test else None if str(self) else UNKNOWN

    def to_header(self) -> dict[str, str]:
        """Return strings by name for a checkpoint's header; earlier versions read only `chosen` and `chosen_on`."""
        said = {"chosen": str(self), "chosen_on": self.fingerprint}
        return {KEY: json.dumps(asdict(self))} | {name: value for name, value in said.items() if value}

    @staticmethod
    def from_header(header: Mapping[str, str], evaluated_on: str | None = None) -> "Selection | None":
        """Read what `to_header` wrote, or the sentence that earlier versions wrote; `None` if there is neither.

        Args:
            evaluated_on: the fingerprint of the split on which the checkpoint is evaluated.

        Raises:
            ValueError: the header is damaged.
        """
        if KEY in header:
            try:
                found = Selection.from_plain(json.loads(header[KEY]))
            except (ValueError, RecursionError, TypeCheckError) as error:
                raise ValueError(f"A checkpoint's {KEY!r} is damaged ({printable(error)}). Get it again.") from None
        elif "chosen" in header or "chosen_on" in header:
            found = Selection(text=header.get("chosen"), fingerprint=header.get("chosen_on"))
        else:
            return None
        on_test = found.fingerprint is not None and found.fingerprint == evaluated_on
        return replace(found, on_test=on_test)

    @staticmethod
    def from_plain(values: str | Mapping[str, Any]) -> "Selection":
        """Build a selection from the JSON of a file: the fields, or in files of earlier versions a sentence."""
        if isinstance(values, str):
            return Selection(text=values)
        made: Selection = build(Selection, values)
        return made


@dataclass(frozen=True)
class Overfitting:
    """Robust accuracy on held-out images, as fractions, after the best and the last epoch."""

    epoch: int
    best: float
    last_epoch: int
    last: float

    @property
    def lost(self) -> float:
        return self.best - self.last


def overfitting(epochs: Sequence[Epoch]) -> Overfitting | None:
    """Return the best and the last robust accuracy, or `None` if no epoch was validated."""
    if not (rows := _validated(epochs)):
        return None
    best, last = max(rows, key=lambda row: row["robust"]), rows[-1]
    return Overfitting(int(best["epoch"]), best["robust"], int(last["epoch"]), last["robust"])


def _validated(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Return the epochs after which accuracies were measured on held-out images."""
    return [row for row in epochs if "robust" in row]
