import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advdistill.evaluation.metrics import ClassAccuracy, by_class, nrr, w_robust
from advdistill.results.result import wilson

NAMES = ("cat", "dog", "frog", "ship")
LABELS = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
STANDING = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0, 0]).bool()


def test_worked_by_hand():
    found = by_class(STANDING, LABELS, NAMES)
    assert found.accuracies == (ClassAccuracy("cat", 3, 2), ClassAccuracy("dog", 2, 1), ClassAccuracy("ship", 4, 1))
    assert found.absent == ("frog",)
    assert [one.accuracy for one in found.accuracies] == [2 / 3, 1 / 2, 1 / 4]
    assert (found.worst.name, found.worst.accuracy) == ("ship", 0.25)
    assert found.worst.interval == wilson(1, 4) == pytest.approx((0.04559, 0.69936), abs=1e-5)


def test_of_equally_bad_classes_the_first_is_named():
    found = by_class(torch.tensor([True, False, False]), torch.tensor([0, 1, 2]), NAMES)
    assert found.worst.name == "dog" and found.absent == ("ship",)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=50))
def test_the_classes_make_up_the_whole(images):
    standing, labels = torch.tensor([flag for flag, _ in images]), torch.tensor([label for _, label in images])
    found = by_class(standing, labels, NAMES)
    assert sum(one.n for one in found.accuracies) == len(images)
    assert sum(one.correct for one in found.accuracies) == standing.sum()
    assert {one.name for one in found.accuracies} | set(found.absent) == set(NAMES)
    assert len(found.accuracies) + len(found.absent) == len(NAMES)
    assert found.worst.accuracy <= standing.float().mean().item() + 1e-6


def test_weighted_robustness_and_its_harmonic_sister():
    assert w_robust(0.8, 0.5) == pytest.approx(0.65)
    assert nrr(0.8, 0.5) == pytest.approx(0.8 / 1.3)
    assert nrr(0.9, 0.0) == nrr(0.0, 0.0) == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_harmonic_mean_lies_below_the_plain_one(clean, robust):
    assert min(clean, robust) - 1e-9 <= nrr(clean, robust) <= w_robust(clean, robust) + 1e-9
    assert nrr(clean, robust) == nrr(robust, clean)


def test_what_is_not_a_verdict_for_each_label_is_refused():
    with pytest.raises(ValueError, match="booleans, got torch.uint8. Compare a saved verdict with CORRECT"):
        by_class(STANDING.byte(), LABELS, NAMES)
    for standing, labels in (STANDING[:4], LABELS), (STANDING[:0], LABELS[:0]), (STANDING[None], LABELS[None]):
        with pytest.raises(ValueError, match=r"verdicts \[N\] and labels \[N\], N > 0; these have"):
            by_class(standing, labels, NAMES)
    with pytest.raises(ValueError, match=r"Labels must lie in 0..2, the classes that have names; got 3"):
        by_class(STANDING, LABELS, NAMES[:3])
    with pytest.raises(ValueError, match="got -1"):
        by_class(STANDING, LABELS - 1, NAMES)
