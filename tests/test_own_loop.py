"""Tests that AWP, EMA and SWA in a user's own loop around a `Distiller` give the same as a run."""

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from training import four, quick, quick_data, state_of

import advdistill as ad
from advdistill._internal.rng import Rng
from advdistill.data.batches import Batches, to_float
from advdistill.train.schedule import rate


class Normed(Tiny):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))


def by_hand(run, average):
    """Train a run's networks in a loop around `Distiller`; an average of the student is updated as in the run."""
    recipe, networks = run.recipe, four(Normed)
    student = networks["student"]
    used, _ = quick_data().holdout(recipe.data.validation, recipe.seed)
    distiller = ad.Distiller(recipe.method.fresh(), attack=recipe.attack, peer=networks["peer"])
    distiller.prepare(student, to_float(used.images[:2]), used.labels[:2])
    trained = [student, *distiller.trained.values(), *distiller.modules.values()]
    optimizer = torch.optim.SGD([p for net in trained for p in net.parameters()], 0.1, 0.9, weight_decay=5e-4)
    batches, awp, kept, step = Batches(used, recipe.batch_size, recipe.data.augment, 0), None, average(student), 0
    if recipe.awp is not None:
        awp = ad.AWP(distiller, recipe.awp)
    for epoch in range(recipe.epochs):
        for at, share in enumerate(batches.epoch(epoch)):
            optimizer.param_groups[0]["lr"] = 0.1 * rate(recipe.schedule, epoch + at / len(batches), recipe.epochs)
            batch = distiller.craft(student.train(), share.x, share.y, progress=(epoch + 1) / recipe.epochs,
                                    rng=Rng(0, "start", step))  # fmt: skip
            with awp(batch, student) if awp else torch.enable_grad():
                loss = sum(loss.mean() for loss in distiller.losses(batch, student).values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            distiller.method.after_step(student, distiller.modules)
            step += 1
            if isinstance(kept, ad.EMA):
                kept.update(student)
        if isinstance(kept, ad.SWA):
            kept.update(student, to_float(used.images).split(256))
    return student, kept, distiller.modules


@pytest.mark.parametrize(("method", "option", "average"), [
    ("pgd_at", {"awp": 0.01, "ema": 0.9, "ema_warmup": 1}, lambda student: ad.EMA(student, 0.9, warmup=3)),
    ("lbgat", {"awp": 0.005, "swa": 0.0}, ad.SWA),
    ("adr", {"awp": 0.005, "ema": 0.995}, lambda student: ad.EMA(student, 0.995)),
])  # fmt: skip
def test_a_loop_of_ones_own_is_the_run(tmp_path, method, option, average):
    done = quick(tmp_path / "run", four(Normed), method, **option)
    student, kept, modules = by_hand(done, average)
    assert_close(state_of(done)["student"], student.state_dict(), rtol=1e-4, atol=1e-5)
    assert_close(load_file(done.last), dict(kept.module.state_dict()), rtol=1e-4, atol=1e-5)
    expected = {f"{name}.{key}": value for name, net in modules.items() for key, value in net.state_dict().items()}
    assert_close(state_of(done)["modules"], type(state_of(done)["modules"])(expected), rtol=1e-4, atol=1e-5)


def test_an_average_of_weights_has_statistics_of_its_own(tiny):
    student, images = four(Normed)["student"], torch.rand(12, 1, 4, 4)
    average = ad.SWA(student)
    average.update(student, images.split(12))
    norm = average.module.hidden[1]
    hidden = average.module.hidden[0](images.flatten(1))
    assert_close(norm.running_mean, hidden.mean(0).detach())
    assert_close(norm.running_var, hidden.var(0).detach())
    assert not student.hidden[1].running_mean.any()


@pytest.mark.parametrize(("action", "message"), [
    (lambda: ad.AWP(ad.Distiller("mart")), "AWP's release has no size for MART; give one, size=0.005"),
    (lambda: ad.AWP(ad.Distiller("mart"), 1.5), "share of each layer's norm, between 0 and 1; got 1.5"),
    (lambda: ad.EMA(Tiny(), 1.5), "EMA's decay must lie between 0 and 1, got 1.5"),
    (lambda: ad.EMA(Tiny(), 0.9, -1), "EMA's warmup is a number of steps, at least 0, got -1"),
])  # fmt: skip
def test_mistakes_are_explained(action, message):
    with pytest.raises(ValueError, match=message):
        action()


def test_the_sizes_are_the_releases():
    found = {name: ad.AWP(ad.Distiller(name)) for name in ("pgd_at", "trades")}
    assert {name: (awp.size, awp.begin) for name, awp in found.items()} == {"pgd_at": (0.01, 0), "trades": (0.005, 9)}
