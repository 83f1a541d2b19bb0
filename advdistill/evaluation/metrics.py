"""Metrics other than the accuracy on a whole split: accuracy by class, calibration, W-Robust and NRR."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..results.result import Counted

__all__ = ["ClassAccuracy", "Classes", "by_class", "calibration_error", "nrr", "w_robust"]


@dataclass(frozen=True)
class ClassAccuracy(Counted):
    """How many of the `n` images of one class are classified correctly."""

    name: str
    n: int
    correct: int


@dataclass(frozen=True)
class Classes:
    """Accuracies in the order of the labels.

    Attributes:
        absent: names of the classes without images.
    """

    accuracies: tuple[ClassAccuracy, ...]
    absent: tuple[str, ...]

    @property
    def worst(self) -> ClassAccuracy:
        """The class with the lowest accuracy, the first in a tie; chosen for that, its interval is not optimistic."""
        return min(self.accuracies, key=lambda one: one.accuracy)


def by_class(correct: Tensor, labels: Tensor, names: Sequence[str]) -> Classes:
    """Compute the accuracy of each class.

    Args:
        correct: which images are classified correctly, `[N]` booleans, clean or under one attack.
        labels: `[N]`, each in `0..len(names)-1`.
        names: class names, in the order of the labels.

    Returns:
        A count for each class with images, and the names of the classes without images.

    Raises:
        ValueError: `correct` is not boolean, there are no images, an image has no label, or a label has no name.

    Example:
        >>> found = by_class(torch.tensor([True, False, True]), torch.tensor([0, 0, 1]), ("cat", "dog", "bird"))
        >>> [(one.name, one.accuracy) for one in found.accuracies], found.absent, found.worst.name
        ([('cat', 0.5), ('dog', 1.0)], ('bird',), 'cat')
    """
    _check_verdicts(correct, labels, names)
    sizes = torch.bincount(labels, minlength=len(names)).tolist()
    right = torch.bincount(labels[correct], minlength=len(names)).tolist()
    counted = list(zip(names, sizes, right, strict=True))
    return Classes(
        tuple(ClassAccuracy(name, n, count) for name, n, count in counted if n),
        tuple(name for name, n, _ in counted if not n),
    )


def _check_verdicts(correct: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    if correct.dtype != torch.bool:
        raise ValueError(f"Verdicts must be booleans, got {correct.dtype}. Compare a saved verdict with CORRECT.")
    if correct.shape != labels.shape or labels.ndim != 1 or not len(labels):
        shapes = f"{list(correct.shape)} and {list(labels.shape)}"
        raise ValueError(f"There must be verdicts [N] and labels [N], N > 0; these have {shapes}.")
    wrong = labels[(labels < 0) | (labels >= len(names))]
    if len(wrong):
        raise ValueError(f"Labels must lie in 0..{len(names) - 1}, the classes that have names; got {wrong[0].item()}.")


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Compute the expected calibration error in [0, 1]: the gap of accuracy and confidence, over bins of equal width.

        ECE = sum_m |B_m| / N  |accuracy(B_m) - confidence(B_m)|,   B_m the images with confidence in ((m-1)/M, m/M]

    Confidence is the probability of the predicted class; the softmax is computed in float64.

    Args:
        logits: `[N, K]`.
        labels: `[N]`.
        bins: M.

    Returns:
        The error, a fraction.

    Reference: Guo et al., On Calibration of Modern Neural Networks. ICML 2017.

    Raises:
        ValueError: there are no bins or no images, logits and labels do not match, or logits are not finite.
    """
    _check_logits(logits, labels, bins)
    confidence = logits.double().softmax(1).amax(1)
    right = (logits.argmax(1) == labels).double()
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    gaps = confidence.new_zeros(bins).index_add(0, torch.bucketize(confidence, inner), right - confidence)
    return (gaps.abs().sum() / len(labels)).item()


def _check_logits(logits: Tensor, labels: Tensor, bins: int) -> None:
    if bins < 1:
        raise ValueError(f"Calibration needs at least 1 bin, got bins={bins}. The usual number is 15.")
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        shapes = f"{list(logits.shape)} and {list(labels.shape)}"
        raise ValueError(f"Calibration is of logits [N, K] and labels [N], N > 0; these have {shapes}.")
    if not logits.isfinite().all():
        raise ValueError("Logits that are NaN or infinite have no calibration.")


def w_robust(clean: float, robust: float) -> float:
    """Return (clean + robust) / 2, called weighted robust accuracy by MTARD and its successors, for one attack.

    Args:
        clean, robust: accuracies, both as fractions or both in per cent.

    Returns:
        The mean, in the same unit.

    >>> w_robust(0.75, 0.25)
    0.5
    """
    return (clean + robust) / 2


def nrr(clean: float, robust: float) -> float:
    """Return 2 clean robust / (clean + robust), the harmonic mean of the two accuracies.

    Args:
        clean, robust: accuracies, both as fractions or both in per cent.

    Returns:
        The harmonic mean, in the same unit; 0 if both are 0.

    >>> nrr(0.75, 0.25)
    0.375
    """
    return 2 * clean * robust / (clean + robust) if clean + robust else 0.0
