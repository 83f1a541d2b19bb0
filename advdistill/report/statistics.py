"""Whether two models differ, and the spread over seeds. Verdicts `[n]`: 1 still classified correctly, 0 broken."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb, sqrt
from statistics import fmean, stdev
from typing import Literal

import numpy as np

from .._internal.packages import require
from ..results.result import wilson

__all__ = [
    "LEVEL", "Difference", "Verdict", "fisher", "holm", "mcnemar", "over_seeds", "paired", "paired_t", "unpaired",
]  # fmt: skip

LEVEL = 0.05
Verdict = Literal["ahead", "behind", "not distinguishable"]


@dataclass(frozen=True)
class Difference:
    """How much more accurate a first model is than a second one, both measured on `n` images.

    Attributes:
        value, interval: the difference, a fraction, and its 95 % interval.
        p: two-sided p value of `test`; Fisher's test is unpaired.
        n: images; for the t test, pairs of models.
    """

    value: float
    interval: tuple[float, float]
    p: float
    n: int
    test: Literal["McNemar", "Fisher", "paired t"]

    @property
    def verdict(self) -> Verdict:
        """Whether the first model is ahead or behind, at level 0.05."""
        if self.p >= LEVEL:
            return "not distinguishable"
        return "ahead" if self.value > 0 else "behind"


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare verdicts `[n]` on the same images: McNemar's exact test, and Newcombe's score interval for pairs.

    The Wilson intervals of the two accuracies are combined with their correlation phi. Its continuity correction
    subtracts n / 2 from a positive determinant of the table of pairs, no further than to 0.

    Reference: Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
    data. Statistics in Medicine 1998 (method 10).

    Raises:
        ValueError: the arrays differ in length, are empty, or hold values other than 0 and 1.
    """
    both, only_first, only_second, neither = _count_pairs(first, second)
    right, other, n = both + only_first, both + only_second, len(first)
    determinant = both * neither - only_first * only_second
    corrected = min(determinant, max(0, determinant - n / 2))
    phi = corrected / (sqrt(right * (n - right) * other * (n - other)) or 1)
    interval = _newcombe(right, other, n, phi)
    return Difference((right - other) / n, interval, mcnemar(first, second), n, "McNemar")


def unpaired(first: int, second: int, n: int) -> Difference:
    """Compare how many of `n` images each model classifies correctly, if it is unknown which: Fisher's exact test.

    Two models mostly fail on the same images, and then this test has less power than `paired`.
    """
    return Difference((first - second) / n, _newcombe(first, second, n, 0), fisher(first, second, n), n, "Fisher")


def paired_t(differences: Sequence[float]) -> Difference:
    """Test differences in accuracy between pairs of models, such as pairs with the same seed: Student's paired t test.

    Unlike `paired`, this test generalises to further seeds, not to further images. If all differences are equal, which
    happens by chance with few pairs and few images, the spread is unknown and p is 1.

    Raises:
        ValueError: fewer than two pairs.
        ImportError: scipy is missing.

    >>> found = paired_t([0.01, 0.02, 0.03])
    >>> round(found.value, 3), round(found.p, 3), [round(end, 3) for end in found.interval]
    (0.02, 0.074, [-0.005, 0.045])
    """
    mean, deviation = over_seeds(differences)
    n = len(differences)
    if deviation < 1e-12:
        return Difference(mean, (-1.0, 1.0), 1.0, n, "paired t")
    t = require("scipy.stats", "A study", "study").t(n - 1)
    error = deviation / sqrt(n)
    half = float(t.ppf(0.975)) * error
    return Difference(mean, (mean - half, mean + half), float(2 * t.sf(abs(mean) / error)), n, "paired t")


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact two-sided p in (0, 1] that neither model is better, from verdicts `[n]` on the same images.

    Only the m images that exactly one model gets right count; each would be either model's with probability 1/2:

        p = min(1, 2 P(Binomial(m, 1/2) <= min(m_first, m_second))),   at least 2e-308.

    Reference: McNemar, Note on the sampling error of the difference between correlated proportions or percentages.
    Psychometrika 1947.
    """
    _, only_first, only_second, _ = _count_pairs(first, second)
    m, least = only_first + only_second, min(only_first, only_second)
    return _two_sided(accumulate(range(least), lambda term, k: term * (m - k) // (k + 1), initial=1), 2**m)


def fisher(first: int, second: int, n: int) -> float:
    """Return Fisher's exact two-sided p in (0, 1] that two models are alike, from how many of `n` each gets right."""
    total, least = first + second, min(first, second)
    start = max(0, total - n)
    terms = accumulate(  # C(n, k) C(n, total - k), k = start ... least; symmetric about total / 2
        range(start, least),
        lambda term, k: term * (n - k) * (total - k) // ((k + 1) * (n - total + k + 1)),
        initial=comb(n, start) * comb(n, total - start),
    )
    return _two_sided(terms, comb(2 * n, total))


def holm(p_values: Sequence[float]) -> list[float]:
    """Raise the p values of several comparisons, so that the chance of any false verdict among them keeps the level.

    Reference: Holm, A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 1979.
    """
    ascending = sorted(range(len(p_values)), key=lambda i: p_values[i])
    left = range(len(p_values), 0, -1)
    raised = accumulate((min(1.0, m * p_values[i]) for m, i in zip(left, ascending, strict=True)), max)
    return [p for _, p in sorted(zip(ascending, raised, strict=True))]


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation (divisor N - 1) of one figure over N seeds.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"A standard deviation over seeds needs two values or more, got {len(values)}.")
    return fmean(values), stdev(values)


def _count_pairs(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int, int]:
    """Count the images that both models get right, the first alone, the second alone, and neither."""
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise ValueError(f"Verdicts on the same images have one shape [n], n > 0; these have {shapes}.")
    for verdicts in (first, second):
        if not np.isin(verdicts, (0, 1)).all():
            other = np.max(verdicts)
            raise ValueError(f"A verdict is 1 (still classified correctly) or 0 (broken); among these is {other}.")
    kinds = np.bincount(3 - 2 * first.astype(int) - second.astype(int), minlength=4)
    both, one, other, neither = map(int, kinds)
    return both, one, other, neither


def _two_sided(terms: Iterator[int], whole: int) -> float:
    """Return twice the tail of a symmetric distribution, from whole numbers: no digit is lost with many images."""
    return max(sys.float_info.min, min(1.0, 2 * sum(terms) / whole))


def _newcombe(first: int, second: int, n: int, phi: float) -> tuple[float, float]:
    p, q = first / n, second / n
    (low, high), (other_low, other_high) = wilson(first, n), wilson(second, n)
    return p - q - _margin(p - low, other_high - q, phi), p - q + _margin(high - p, q - other_low, phi)


def _margin(a: float, b: float, phi: float) -> float:
    return sqrt(a * a - 2 * phi * a * b + b * b)
