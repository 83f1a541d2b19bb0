import pytest
import torch
from torch import nn

from advdistill._internal.rng import ImageRng
from advdistill.attacks.suites import ATTACKS
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.evaluation import gradient_alignment
from advdistill.evaluation.gradients import pointwise_distance
from advdistill.losses import cross_entropy
from advdistill.threat import L2, Linf


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


class Constant(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)


def test_equal_networks_are_nowhere_apart():
    network = Linear([[1.0, -2.0], [0.5, 2.0]])
    assert pointwise_distance(network, network, SPLIT) == {"uniform": 0, "adversarial": 0}
    assert network.weight.grad is None and network.weight.requires_grad


def test_the_distance_of_constant_logits():
    found = pointwise_distance(Constant(1.0, 2.0), Constant(4.0, -2.0), SPLIT, batch_size=3)
    assert found == pytest.approx({"uniform": 5, "adversarial": 5})


def test_an_adversarial_image_is_the_students():
    # black images of class 0; z_1 - z_0 is x_0 - x_1 in the student, 3 x_0 in the teacher: the student's x' is (eps, 0)
    black = Split(torch.zeros(3, 1, 1, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.long), ("a", "b"), "made")
    student, teacher = Linear([[0.0, 0.0], [1.0, -1.0]]), Linear([[0.0, 0.0], [3.0, 0.0]])
    found = pointwise_distance(student, teacher, black, Linf(0.25))
    assert found["adversarial"] == pytest.approx(3 * 0.25 - 0.25, abs=1e-6)
    assert pointwise_distance(teacher, student, black, Linf(0))["adversarial"] == 0


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.2)])
def test_both_distances_computed_by_themselves(threat):
    student, teacher = Linear([[1.0, -2.0], [0.5, 2.0]]), Linear([[2.0, 0.0], [-0.5, 1.0]])
    x, pgd = to_float(SPLIT.images), ATTACKS["pgd-20"](threat).pgd
    uniform, adversarial = [], []
    for rows in (slice(0, 3), slice(3, 4)):
        uniform.append(x[rows] + threat.sample(x[rows], ImageRng(5, "uniform", places=range(4)[rows])))
        loss = lambda x_adv, y=SPLIT.labels[rows]: cross_entropy(student(x_adv), y)  # noqa: E731
        adversarial.append(pgd(loss, x[rows], ImageRng(5, "attack", places=range(4)[rows])))
    expected = {
        name: (teacher(torch.cat(parts)) - student(torch.cat(parts))).norm(dim=1).mean().item()
        for name, parts in {"uniform": uniform, "adversarial": adversarial}.items()
    }
    found = pointwise_distance(student, teacher, SPLIT, threat, batch_size=3, seed=5)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_teacher_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 logits, the split has 2 classes"):
        pointwise_distance(Linear([[1.0, 0.0]] * 2), Linear([[1.0, 0.0]] * 3), SPLIT)
