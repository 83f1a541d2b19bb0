import pytest
import torch
from torch.testing import assert_close

from advdistill import L2, PGD, Linf
from advdistill._internal.rng import Rng
from advdistill.losses import cross_entropy, margin

STARTS = ["uniform", "uniform_unclamped", "gaussian", "gaussian_clamped", "none"]


def linear(x):
    """An objective with gradient +1 at even and -1 at odd pixels."""
    signs = torch.ones(x[0].numel())
    signs[1::2] = -1
    return (x.flatten(1) * signs).sum(1)


@pytest.mark.parametrize("start", STARTS)
def test_a_linear_objective_is_climbed_to_the_corner(start):
    x = torch.full((2, 1, 2, 2), 0.5)
    x_adv = PGD(10, "2/255", Linf("8/255"), start)(linear, x)
    assert_close(x_adv.flatten(1)[0], 0.5 + 8 / 255 * torch.tensor([1.0, -1, 1, -1]))


def test_one_step_without_start_is_fgsm(tiny, batch):
    model, (x, y) = tiny(), batch
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
    x_adv = PGD(1, 0.1, Linf(0.1), "none")(lambda x_adv: cross_entropy(model(x_adv), y), x)
    assert_close(x_adv, (x + 0.1 * gradient.sign()).clamp(0, 1))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("loss", [cross_entropy, margin])
def test_it_stays_inside_and_raises_the_objective(tiny, batch, threat, start, loss):
    model, (x, y) = tiny(), batch

    def objective(x_adv):
        return loss(model(x_adv), y)

    x_adv = PGD(10, threat.eps / 4, threat, start)(objective, x)
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6
    assert x_adv.min() >= 0 and x_adv.max() <= 1 and not x_adv.requires_grad
    assert (objective(x_adv) > objective(x)).all()


def test_parameters_get_no_gradient_and_the_clean_images_stay(tiny, batch):
    model, (x, y) = tiny(), batch
    before = x.clone()
    with torch.no_grad():  # the caller's grad mode does not matter
        PGD(2, 0.05, Linf(0.1))(lambda x_adv: cross_entropy(model(x_adv), y), x)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(x, before) and not x.requires_grad


def test_eps_zero_returns_the_clean_images(batch):
    assert_close(PGD(3, 0.0, Linf(0))(linear, batch[0]), batch[0])


def test_draws_depend_on_the_key_alone(batch):
    x, attack = batch[0], PGD(1, 0.05, Linf(0.1))
    first = attack(linear, x, Rng(0, 1))
    torch.randn(10)
    assert torch.equal(first, attack(linear, x, Rng(0, 1)))
    assert not torch.equal(first, attack(linear, x, Rng(0, 2)))


def test_without_rng_the_start_follows_torchs_seed(batch):
    attack = PGD(1, 0.05, Linf(0.1))
    torch.manual_seed(3)
    first = attack(linear, batch[0])
    torch.manual_seed(3)
    assert torch.equal(first, attack(linear, batch[0]))
    assert not torch.equal(first, attack(linear, batch[0]))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_processes_draw_the_rows_that_one_process_would(batch, threat):
    x = batch[0]
    whole = threat.sample(x, Rng(7))
    parts = [threat.sample(x[i : i + 3], Rng(7, start=i, total=6)) for i in (0, 3)]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize(("arguments", "message"), [
    ((10, "8/255", Linf("2/255")), r"step_size \(8/255\) is larger than .* eps \(2/255\). Were the two swapped\?"),
    ((0, "2/255", Linf("8/255")), "at least 1 step, got steps=0"),
    ((10, "x", Linf("8/255")), "step_size must be a number"),
])  # fmt: skip
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        PGD(*arguments)


def test_it_prints_its_settings():
    assert str(PGD(20, "2/255", Linf("8/255"), "uniform")) == "PGD-20, Linf 8/255, step 2/255, uniform start"
