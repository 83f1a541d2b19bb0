"""Tests of statistics: figures by hand, scipy as an independent check, and properties for any verdicts."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from advdistill.report.statistics import Difference, fisher, holm, mcnemar, over_seeds, paired, unpaired


def judge(first, second):
    return paired(first, second).verdict


def verdicts(both, only_first, only_second, neither):
    """Return two models' verdicts, given the numbers of images that both, one alone or neither gets right."""
    counts = (both, only_first, only_second, neither)
    return tuple(np.repeat(np.array(kinds, np.uint8), counts) for kinds in ((1, 1, 0, 0), (1, 0, 1, 0)))


FLAGS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
PAIRS = FLAGS.map(lambda pairs: tuple(np.array(pairs, np.uint8).T))


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 2 / 32), (0, 6, 2 / 64), (8, 2, 2 * (1 + 10 + 45) / 1024), (3, 4, 1.0)],
)
def test_mcnemar_worked_by_hand(only_first, only_second, p):
    assert mcnemar(*verdicts(30, only_first, only_second, 20)) == p


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 21), (52, 37), (180, 140), (2150, 2000), (4990, 5010)])
def test_mcnemar_is_scipys_binomial_test_of_the_discordant_images(only_first, only_second):
    expected = binomtest(only_first, only_first + only_second).pvalue
    assert mcnemar(*verdicts(100, only_first, only_second, 0)) == pytest.approx(expected, rel=1e-9)


def test_thousands_of_one_sided_images_leave_a_p_above_zero():
    first, second = verdicts(0, 9000, 0, 1000)
    assert 0 < mcnemar(first, second) < 1e-300 and 0 < fisher(9000, 0, 10000) < 1e-300
    assert judge(first, second) == "ahead" and judge(second, first) == "behind"


@pytest.mark.parametrize(
    ("first", "second", "n", "p"), [(3, 0, 3, 2 / 20), (1, 4, 4, 8 / 56), (0, 0, 5, 1), (7, 7, 7, 1)]
)
def test_fisher_worked_by_hand(first, second, n, p):
    assert fisher(first, second, n) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "n"), [(240, 210, 500), (12, 31, 600), (590, 570, 600), (5000, 4800, 10000)]
)
def test_fisher_is_scipys(first, second, n):
    expected = fisher_exact([[first, n - first], [second, n - second]]).pvalue
    assert fisher(first, second, n) == pytest.approx(expected, rel=1e-8)


def newcombe(both, only_first, only_second, neither, pairs=True):
    """Compute Newcombe's interval independently, from scipy's Wilson intervals."""
    n, right, other = both + only_first + only_second + neither, both + only_first, both + only_second
    determinant = both * neither - only_first * only_second
    if determinant > 0:
        determinant = max(determinant - n / 2, 0)
    margins = right * (n - right) * other * (n - other)
    phi = determinant / sqrt(margins) if margins and pairs else 0
    (l1, u1), (l2, u2) = (binomtest(k, n).proportion_ci(method="wilson") for k in (right, other))
    p1, p2 = right / n, other / n
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return p1 - p2 - sqrt(below), p1 - p2 + sqrt(above)


@pytest.mark.parametrize(
    "counts",
    [(14, 5, 0, 22), (200, 30, 41, 229), (10, 40, 40, 10), (21, 19, 21, 20), (20, 0, 0, 0), (0, 7, 3, 0), (9, 0, 0, 9)],
)
def test_the_paired_interval(counts):
    found = paired(*verdicts(*counts))
    assert found.interval == pytest.approx(newcombe(*counts), abs=1e-12)
    assert found.value == (counts[1] - counts[2]) / sum(counts) and found.n == sum(counts)


@pytest.mark.parametrize("cells", [(0.3, 0.1, 0.1, 0.5), (0.3, 0.02, 0.06, 0.62), (0.1, 0.4, 0.3, 0.2)])
def test_the_paired_interval_covers_the_truth_nineteen_times_of_twenty(cells):
    tables = np.random.default_rng(0).multinomial(300, cells, size=1000)
    intervals = [paired(*verdicts(*counts)).interval for counts in tables]
    covered = sum(low <= cells[1] - cells[2] <= high for low, high in intervals)
    assert 930 <= covered <= 970


def test_pairing_sees_what_counts_do_not():
    first, second = verdicts(200, 30, 10, 260)
    with_images, without = paired(first, second), unpaired(230, 210, 500)
    assert with_images.value == without.value == 0.04
    assert (with_images.test, with_images.verdict) == ("McNemar", "ahead")
    assert (without.test, without.verdict) == ("Fisher", "not distinguishable")
    assert without.interval == pytest.approx(newcombe(200, 30, 10, 260, pairs=False), abs=1e-12)
    assert without.interval[0] < 0 < with_images.interval[0] < with_images.interval[1] < without.interval[1]


@pytest.mark.parametrize(("p", "verdict"), [(0.0499, "behind"), (0.05, "not distinguishable")])
def test_the_level_is_five_per_cent(p, verdict):
    assert Difference(-0.1, (-0.2, 0.0), p, 100, "McNemar").verdict == verdict


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x 0.01, 2 x 0.03, 0.04 raised to that
    assert holm([0.5, 0.001, 0.6, 0.02]) == pytest.approx([1.0, 0.004, 1.0, 0.06])
    assert holm([0.03]) == [0.03] and holm([]) == []


def test_over_seeds():
    assert over_seeds([0.42, 0.44, 0.49]) == pytest.approx((0.45, sqrt((0.0009 + 0.0001 + 0.0016) / 2)))
    with pytest.raises(ValueError, match="needs two values or more, got 1"):
        over_seeds([0.42])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 0, 1], [1, 0], r"one shape \[n\], n > 0; these have \[3\] and \[2\]"),
        ([], [], r"these have \[0\] and \[0\]"),
        ([[1, 0]], [[1, 0]], r"these have \[1, 2\] and \[1, 2\]"),
        ([1, 255], [1, 0], r"1 \(still classified correctly\) or 0 \(broken\); among these is 255"),
    ],
)
def test_what_are_no_verdicts_on_the_same_images(first, second, message):
    for compared in (mcnemar, paired, judge):
        with pytest.raises(ValueError, match=message):
            compared(np.array(first), np.array(second))


@given(PAIRS)
def test_two_models_may_change_places(pair):
    first, second = pair
    assert 0 < mcnemar(first, second) <= 1
    assert mcnemar(first, second) == mcnemar(second, first) == mcnemar(first[::-1], second[::-1])
    here, there = paired(first, second), paired(second, first)
    assert here.value == -there.value and here.interval == pytest.approx([-bound for bound in reversed(there.interval)])
    assert -1 <= here.interval[0] <= here.value <= here.interval[1] <= 1
    opposite = {"ahead": "behind", "behind": "ahead"}
    assert judge(second, first) == opposite.get(judge(first, second), "not distinguishable")


@given(PAIRS)
def test_a_model_is_not_distinguishable_from_itself(pair):
    assert mcnemar(pair[0], pair[0]) == 1 and judge(pair[0], pair[0]) == "not distinguishable"


@settings(max_examples=30)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_fisher_for_any_counts(counts):
    first, second, n = counts
    expected = fisher_exact([[first, n - first], [second, n - second]]).pvalue
    assert fisher(first, second, n) == fisher(second, first, n) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(1e-9, 1), max_size=8))
def test_holm_raises_no_more_than_bonferroni_and_keeps_the_order(p_values):
    raised = holm(p_values)
    assert all(p <= r <= min(1, len(p_values) * p) for p, r in zip(p_values, raised, strict=True))
    by_p = [r for _, r in sorted(zip(p_values, raised, strict=True))]
    assert by_p == sorted(by_p)
