import pytest
import torch
from torch import nn

from advdistill.data import Split
from advdistill.evaluation import gradient_alignment


class Linear(nn.Module):
    """Logits W x: the gradient of the label's logit is a row of W."""

    def __init__(self, rows):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(rows))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


SPLIT = Split(torch.randint(0, 256, (4, 1, 1, 2), dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), ("a", "b"), "made")


def test_cosine_and_distance_of_known_gradients():
    # class 0: (1, 0) against (1, 1); class 1: (0, 2) against (0, 3)
    first, second = Linear([[1.0, 0.0], [0.0, 2.0]]), Linear([[1.0, 1.0], [0.0, 3.0]])
    found = gradient_alignment(first, second, SPLIT, batch_size=3)["true_logit"]
    assert found.cosine == pytest.approx((0.5**0.5 + 1) / 2, abs=1e-6)
    assert found.distance == pytest.approx(1.0, abs=1e-6)


def test_a_network_agrees_with_itself_and_opposes_its_negative():
    first = Linear([[1.0, -2.0], [0.5, 2.0]])
    same = gradient_alignment(first, first, SPLIT)
    opposite = gradient_alignment(first, Linear((-first.weight).tolist()), SPLIT)
    for name in ("cross_entropy", "true_logit"):
        assert same[name].cosine == pytest.approx(1) and same[name].distance == 0
        assert opposite[name].cosine == pytest.approx(-1)
    assert first.weight.grad is None


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 logits, the split has 2 classes"):
        gradient_alignment(Linear([[1.0, 0.0]] * 3), Linear([[1.0, 0.0]] * 2), SPLIT)
