import pytest
import torch
from torch import nn

from advdistill import models
from advdistill._internal.rng import ImageRng
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.evaluation.gradients import linearity_remainder
from advdistill.threat import L2, Linf


def split_of(images):
    images = torch.tensor(images, dtype=torch.uint8).reshape(-1, 1, 1, 2)
    return Split(images, torch.arange(len(images)) % 2, ("a", "b"), "made")


SPLIT = split_of([[0, 255], [51, 102], [204, 204]])


class Square(nn.Module):
    """A network with logits x ** 2, one for each pixel, which differ from the linearisation by exactly d ** 2."""

    def forward(self, x):
        return x.flatten(1) ** 2


def test_a_linear_network_has_none():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(2, 5), nn.Linear(5, 2))
    assert linearity_remainder(network, SPLIT, Linf(0.3)) == pytest.approx(0, abs=1e-6)


def test_a_quadratic_network_at_black_is_nothing_but_remainder():
    # f(0 + d) = d^2, f(0) = 0, J = 0: d^2 / d^2, whatever d is
    assert linearity_remainder(Square(), split_of([[0, 0], [0, 0]]), Linf(0.1)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.3)])
def test_a_quadratic_network_elsewhere(threat):
    x = to_float(SPLIT.images)
    d = torch.cat([threat.sample(x[s], ImageRng(7, "uniform", places=range(3)[s])) for s in (slice(0, 2), slice(2, 3))])
    expected = ((d**2).flatten(1).norm(dim=1) / ((x + d) ** 2).flatten(1).norm(dim=1)).mean().item()
    assert linearity_remainder(Square(), SPLIT, threat, batch_size=2, seed=7) == pytest.approx(expected, rel=1e-4)


def test_without_a_threat_it_is_linf_8_255():
    assert linearity_remainder(Square(), SPLIT) == linearity_remainder(Square(), SPLIT, Linf("8/255"))


def test_a_network_of_the_zoo_by_central_differences():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.create("resnet18", 3, 3).eval()
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.tensor([0, 1]), ("a", "b", "c"), "made")
    found = linearity_remainder(network.train(), split, Linf(0.05), seed=1)
    assert network.training and all(p.requires_grad and p.grad is None for p in network.parameters())
    network, x = network.double().eval(), to_float(images).double()
    d = Linf(0.05).sample(x.float(), ImageRng(1, "uniform", places=range(len(x)))).double()
    with torch.no_grad():
        change = (network(x + 1e-6 * d) - network(x - 1e-6 * d)) / 2e-6
        moved = network(x + d)
        expected = ((moved - network(x) - change).norm(dim=1) / moved.norm(dim=1)).mean().item()
    assert expected > 1e-3 and found == pytest.approx(expected, rel=1e-3)


def test_the_draw_depends_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = linearity_remainder(Square(), SPLIT, Linf(0.3), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert linearity_remainder(Square(), SPLIT, Linf(0.3), seed=1) == first
    assert linearity_remainder(Square(), SPLIT, Linf(0.3), seed=2) != first


def test_a_network_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 logits, the split has 2 classes"):
        linearity_remainder(nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), SPLIT)
