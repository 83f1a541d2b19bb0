"""Losses, training, evaluation and attacks on a GPU; skipped if there is none."""

import warnings

import pytest
import torch
from test_graphs import CASES, Looks, steps
from torch.testing import assert_close
from training import short

from advdistill import PGD, Linf, data, distill, evaluate, methods, models
from advdistill._internal.rng import Rng
from advdistill.acceleration.frozen import Frozen
from advdistill.distiller import Distiller

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

FLAT = ("trades", "lbgat", "adagat", "hat")  # their objective is flat at x: rounding decides the first step


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name != "igdm"])
def test_a_methods_loss_is_that_of_the_cpu(name, tiny, batch):
    def loss(device):
        student, teacher, clean, peer = (tiny(seed).to(device, torch.float64) for seed in (0, 1, 2, 3))
        x, y = batch[0].to(device, torch.float64), batch[1].to(device)
        attack = PGD(3, 0.05, Linf(0.1), start="none")
        return Distiller(methods.build(name), teacher, clean, attack, peer=peer)(student, x, y).cpu()

    if name not in FLAT:
        assert_close(loss("cuda"), loss("cpu"), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["adaad+igdm", "bmtard"])
def test_training_and_evaluation(tmp_path, teacher, method, precision):
    recipe = short(method, teacher, precision=precision, compile=precision == "bf16", ema=0.9)
    run = distill(recipe, tmp_path / "run", accelerator="cuda")
    distill(recipe, tmp_path / "run", accelerator="cuda")
    result = evaluate(models.load(str(run)), data.load("digits", "test"), Linf(0.2), "quick", device="cuda")
    assert all(m.n == 600 for m in result.measurements)


def test_draws_are_made_on_the_device():
    x = torch.zeros(4, 1, 2, 2, device="cuda")
    assert torch.equal(Rng(0, device="cuda").uniform(x), Rng(0, device="cuda").uniform(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_fast_copy_is_the_same_function(compiled):
    model = models.create("resnet18").eval().cuda()
    fast = Frozen(model, compiled=compiled)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for _ in range(2):
            x = torch.rand(4, 3, 32, 32, device="cuda", requires_grad=True)
            first, other = fast(x), fast(1 - x)
            assert_close(first, model(x), rtol=1e-3, atol=1e-4)
            assert_close(other, model(1 - x), rtol=1e-3, atol=1e-4)
            (first - other).square().sum().backward()
            (wanted,) = torch.autograd.grad((model(x) - model(1 - x)).square().sum(), x)
            assert (x.grad - wanted).norm() <= 1e-3 * wanted.norm()


@pytest.mark.parametrize("case", CASES)
def test_a_replayed_attack_is_the_attack(case, monkeypatch):
    name, options = CASES[case]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without a CUDA graph")
        replayed = list(steps(methods.build(name), options, (6, 5) * 3, "cuda"))
    monkeypatch.setattr(Distiller, "_records", lambda self, x: False)
    assert_close(replayed, list(steps(methods.build(name), options, (6, 5) * 3, "cuda")), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once():
    with pytest.warns(UserWarning, match="without a CUDA graph") as said:
        replayed = list(steps(Looks(), device="cuda"))
    assert len(said) == 1
    assert_close(replayed, list(steps(Looks())), rtol=1e-3, atol=1e-4, check_device=False)
