"""What one figure for a whole split hides: accuracy class by class; and one figure of two, W-Robust or NRR."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..result import Counted

__all__ = ["ClassAccuracy", "Classes", "by_class", "nrr", "w_robust"]


@dataclass(frozen=True)
class ClassAccuracy(Counted):
    """How many of the `n` images of one class stand."""

    name: str
    n: int
    correct: int


@dataclass(frozen=True)
class Classes:
    """Accuracies in the order of the labels.

    Attributes:
        absent: the names of the classes without an image.
    """

    accuracies: tuple[ClassAccuracy, ...]
    absent: tuple[str, ...]

    @property
    def worst(self) -> ClassAccuracy:
        """The class of the lowest accuracy, the first of several; chosen for it, so the interval flatters no one."""
        return min(self.accuracies, key=lambda one: one.accuracy)


def by_class(standing: Tensor, labels: Tensor, names: Sequence[str]) -> Classes:
    """Accuracy per class.

    Args:
        standing: which images are classified correctly, `[N]` booleans, clean or under one attack.
        labels: `[N]`, each in `0..len(names)-1`.
        names: of the classes, in the order of the labels.

    Raises:
        ValueError: something else than booleans, no image, not one label for each, or a label without a name.
    """
    _check(standing, labels, names)
    sizes = torch.bincount(labels, minlength=len(names)).tolist()
    correct = torch.bincount(labels[standing], minlength=len(names)).tolist()
    counted = list(zip(names, sizes, correct, strict=True))
    return Classes(
        tuple(ClassAccuracy(name, n, right) for name, n, right in counted if n),
        tuple(name for name, n, _ in counted if not n),
    )


def w_robust(clean: float, robust: float) -> float:
    """(clean + robust) / 2, which MTARD and its successors call weighted robust accuracy, for each attack by itself."""
    return (clean + robust) / 2


def nrr(clean: float, robust: float) -> float:
    """2 clean robust / (clean + robust), the harmonic mean of the two accuracies; 0 where both are 0."""
    return 2 * clean * robust / (clean + robust) if clean + robust else 0.0


def _check(standing: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    if standing.dtype != torch.bool:
        raise ValueError(f"Verdicts must be booleans, got {standing.dtype}. Compare a kept verdict with STANDS.")
    if standing.shape != labels.shape or labels.ndim != 1 or not len(labels):
        shapes = f"{list(standing.shape)} and {list(labels.shape)}"
        raise ValueError(f"There must be verdicts [N] and labels [N], N > 0; these have {shapes}.")
    wrong = labels[(labels < 0) | (labels >= len(names))]
    if len(wrong):
        raise ValueError(f"Labels must lie in 0..{len(names) - 1}, the classes that have names; got {wrong[0].item()}.")
