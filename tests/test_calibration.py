import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advdistill.evaluation.metrics import calibration_error


def logits_of(*confidences):
    """Return logits of two classes that predict the first with these probabilities, each at least 1/2."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()], 1)


def test_worked_by_hand():
    # (0.5, 0.6]: one of two right at 0.55; (0.6, 0.7]: right at 0.65; (0.9, 1]: one of two right at 0.95
    logits = logits_of(0.55, 0.55, 0.65, 0.95, 0.95)
    labels = torch.tensor([0, 1, 0, 0, 1])
    expected = (2 * 0.05 + 1 * 0.35 + 2 * 0.45) / 5
    assert calibration_error(logits, labels, bins=10) == pytest.approx(expected, abs=1e-12)


def test_in_one_bin_only_the_means_count():
    assert calibration_error(logits_of(0.6, 0.9), torch.tensor([0, 1]), bins=1) == pytest.approx(0.25, abs=1e-12)
    assert calibration_error(logits_of(0.6, 0.9), torch.tensor([0, 1]), bins=10) == pytest.approx(0.65, abs=1e-12)


def test_a_bin_holds_its_upper_bound():
    # 1/2 belongs to (1/4, 1/2], as 0.45 does: their gaps 1/2 and -0.45 cancel there, and would not in two bins
    logits = torch.tensor([[0.5, 0.5, 1e-300], [0.45, 0.3, 0.25]], dtype=torch.float64).log()
    assert logits.softmax(1)[0, 0] == 0.5
    assert calibration_error(logits, torch.tensor([0, 1]), bins=4) == pytest.approx(0.05 / 2, abs=1e-12)


def test_sure_and_right_or_sure_and_wrong():
    logits = 1e4 * torch.eye(3)
    assert calibration_error(logits, torch.tensor([0, 1, 2])) == 0
    assert calibration_error(logits, torch.tensor([1, 2, 0])) == 1


def test_the_usual_number_of_bins_is_15():
    # 0.66 and 0.67 lie on the two sides of 10/15
    logits, labels = logits_of(0.66, 0.67), torch.tensor([0, 1])
    assert calibration_error(logits, labels) == pytest.approx((0.34 + 0.67) / 2, abs=1e-12)


@given(st.integers(1, 40), st.integers(2, 6), st.integers(1, 30), st.integers(0, 10**6))
def test_it_lies_between_0_and_1_and_knows_no_order(n, classes, bins, seed):
    rng = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(n, classes, generator=rng)
    labels = torch.randint(classes, (n,), generator=rng)
    order = torch.randperm(n, generator=rng)
    found = calibration_error(logits, labels, bins)
    assert 0 <= found <= 1
    assert calibration_error(logits[order], labels[order], bins) == pytest.approx(found, abs=1e-12)
    assert calibration_error(logits + 3, labels, bins) == pytest.approx(found, abs=1e-5)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 19)), min_size=1, max_size=5), st.integers(1, 30))
def test_a_calibrated_set_has_none(groups, bins):
    """Groups of 2 n images, of which n ... 2n - 1 are right; the confidence equals that share."""
    logits, labels = [], []
    for n, more in groups:
        total, right = 2 * n, n + more % n
        logits.append(logits_of(right / total).expand(total, 2))
        labels += [0] * right + [1] * (total - right)
    assert calibration_error(torch.cat(logits), torch.tensor(labels), bins) == pytest.approx(0, abs=1e-12)


def test_what_has_no_calibration_is_refused():
    logits = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="at least 1 bin, got bins=0. The usual number is 15"):
        calibration_error(logits, torch.zeros(3, dtype=torch.long), bins=0)
    for shape in (logits, torch.zeros(2, dtype=torch.long)), (logits[:0], torch.zeros(0, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"logits \[N, K\] and labels \[N\], N > 0; these have"):
            calibration_error(*shape)
    with pytest.raises(ValueError, match="NaN or infinite"):
        calibration_error(logits / 0, torch.zeros(3, dtype=torch.long))
