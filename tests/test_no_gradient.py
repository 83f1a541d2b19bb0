"""Tests that robust accuracy is never above clean accuracy, and that an attack reports images without a gradient."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import linear
from rich.console import Console
from torch import nn

from advdistill import L2, Linf, Result, data, evaluate, models
from advdistill.attacks.suites import ATTACKS, PGDAttack, pgd, pgd_20
from advdistill.data.batches import to_float
from advdistill.evaluation import robust_curve
from advdistill.evaluation.inspection import inspect
from advdistill.evaluation.measure import correct
from advdistill.evaluation.watch import first_gradient
from advdistill.losses import cross_entropy
from advdistill.report.compare import remarks, table
from advdistill.report.formats import tables
from advdistill.report.page import page
from advdistill.results.result import Measurement

TEST = data.load("digits", "test").first(70)
X, Y = to_float(TEST.images), TEST.labels
THREAT = Linf(0.1)


class Times(nn.Module):
    """A network with multiplied logits, whose cross-entropy's gradient underflows or overflows."""

    def __init__(self, factor, network=None):
        super().__init__()
        self.network, self.factor = network or linear(X, Y, 10), factor

    def forward(self, x):
        return self.network(x) * self.factor


class Constant(nn.Module):
    def forward(self, x):
        return torch.eye(10)[torch.full((len(x),), 3)] + 0 * x.flatten(1).sum(1, keepdim=True)


class NaNBehind(nn.Module):
    """A network with right logits and a NaN gradient if the first pixel is 0: the square root's infinity, times 0."""

    def __init__(self):
        super().__init__()
        self.network = linear(X, Y, 10)

    def forward(self, x):
        root = x.flatten(1)[:, :1].clamp(min=0).sqrt()
        return self.network(x) + torch.where(root > 2, root, torch.zeros_like(root)) * 0


class WrongOnTheGrid(nn.Module):
    """A network that is wrong on 8-bit images and right on any image that is slightly off the 8-bit values."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, x):
        grid = ((x * 255 - (x * 255).round()).abs().flatten(1).amax(1) < 1e-3).to(x.dtype)[:, None]
        right = torch.eye(10)[self.labels[0]].expand(len(x), -1)
        return right - 2 * grid * right + 0 * x.flatten(1).sum(1, keepdim=True)


ZEROS = replace(TEST, labels=torch.zeros(70, dtype=torch.int64))


def own(model, x, y, *, rng):
    return (x + 0.1 * (2 * rng.uniform(x) - 1)).clamp(0, 1)


@pytest.mark.parametrize("attack", [*ATTACKS, own], ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_robust_accuracy_is_never_above_clean_accuracy(attack):
    model = WrongOnTheGrid(torch.zeros(1, dtype=torch.int64))
    for attacks in (["clean", attack], [attack, "clean"], [attack]):
        found = evaluate(model, ZEROS, THREAT, attacks=attacks, surrogate=linear(X, Y, 10))
        assert {m.correct for m in found.measurements} == {0}


def test_nor_is_it_in_a_curve_an_inspection_or_a_validation():
    model = WrongOnTheGrid(torch.zeros(1, dtype=torch.int64))
    assert [m.correct for m in robust_curve(model, ZEROS, [0, 0.1, 0.2]).values()] == [0, 0, 0]
    assert not correct(model.eval(), ZEROS, pgd(3, THREAT)).any()
    assert {m.correct for m in inspect(model, ZEROS, THREAT).networks["student"].curve.values()} == {0}


@pytest.mark.parametrize("threat", [THREAT, L2(0.5)], ids=str)
def test_confident_logits_leave_no_gradient_and_the_figures_say_so(threat, tmp_path):
    lines, model = [], Times(1e3)
    result = evaluate(model, TEST, threat, "clean,fgsm,pgd-20,square-100", report=lines.append)
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(x), Y).sum(), x)
    lost = int((gradient.flatten(1) == 0).all(1).sum())
    assert lost > 35 and result["fgsm"].no_gradient == lost and result["pgd-20"].no_gradient > 35
    assert result["clean"].no_gradient is None and result["square-100"].no_gradient is None
    said = (
        f"no gradient to climb, zero or not finite, at {lost / 70:.1%} of the images, so this figure may be far too "
        "high: run autoattack or square-100, which need none"
    )
    assert result["fgsm"].remark == said and f"fgsm: {said} ({threat})" in lines
    assert remarks([result])[0] == f"Times, fgsm: {said}."
    result.save(tmp_path / "result.json")
    saved = {m["attack"]: m for m in json.loads((tmp_path / "result.json").read_text())["measurements"]}
    assert saved["fgsm"]["no_gradient"] == lost and saved["fgsm"]["remark"] == said
    assert "remark" not in saved["square-100"] and Result.load(tmp_path / "result.json") == result
    for kind in ("markdown", "latex"):
        assert "no gradient to climb, zero or not finite" in tables([tmp_path / "result.json"], kind)


def test_a_table_stays_a_table_and_a_measurement_without_the_field_is_read():
    measured = Measurement("fgsm", "", 100, 98, 1.0, no_gradient=1)
    assert measured.remark == "" and replace(measured, no_gradient=2).remark.startswith("no gradient to climb")
    assert Measurement("fgsm", "", 100, 98, 1.0).no_gradient is None
    both = replace(measured, no_gradient=100, outside=3).remark
    assert both.startswith("x' of 3 of 100 images") and "; no gradient to climb, zero or not finite, at 100.0%" in both
    result = evaluate(linear(X, Y, 10), TEST, THREAT, "fgsm")
    console = Console(record=True, width=200)
    console.print(table([result]))
    assert "fgsm" in console.export_text() and result["fgsm"].no_gradient == 0 and remarks([result]) == []


@pytest.mark.parametrize("threat", [THREAT, L2(0.5)], ids=str)
@pytest.mark.parametrize("attack", ["fgsm", "pgd-20", "pgd-20-trades", "cw-30"])
def test_constant_networks_and_gradients_that_are_nan_are_counted(attack, threat):
    constant = evaluate(Constant(), TEST, threat, attacks=["clean", attack])
    assert constant[attack].no_gradient == 70 and constant[attack].correct == constant["clean"].correct
    behind = evaluate(NaNBehind(), TEST, threat, attacks=["clean", attack])
    plain = evaluate(linear(X, Y, 10), TEST, threat, attacks=["clean", attack])
    assert behind[attack].no_gradient > 30  # where the first pixel is 0, clean or at the start
    assert behind[attack].correct <= behind["clean"].correct == plain["clean"].correct


@pytest.mark.parametrize("factor", [1e-30, 1e30, 1e36])
def test_a_gradient_whose_squares_overflow_or_vanish_still_leads_somewhere(factor):
    attack = PGDAttack("margin", pgd(20, L2(0.5)), lambda logits, y: -logits.gather(1, y[:, None])[:, 0])
    network = linear(X, Y, 10)
    plain, scaled = (evaluate(Times(by, network), TEST, L2(0.5), attacks=["clean", attack]) for by in (1, factor))
    assert scaled["margin"].no_gradient == 0 and scaled["margin"].correct == plain["margin"].correct
    assert plain["margin"].correct < plain["clean"].correct


def test_an_attack_of_ones_own_is_watched_at_its_first_step(teacher):
    def one_step(model, x, y, *, rng):
        for _ in range(2):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(model(x), y).sum(), x)
        return (x + 0.1 * gradient.sign()).clamp(0, 1).detach()

    model = models.load(teacher).eval()
    found = evaluate(model, TEST, THREAT, attacks=["fgsm", one_step, own])
    assert found["one_step"].no_gradient == found["fgsm"].no_gradient == 0 and found["own"].no_gradient is None
    assert evaluate(Constant(), TEST, THREAT, attacks=[one_step])["one_step"].no_gradient == 70


def test_only_the_first_gradient_of_the_whole_batch_is_seen_and_nothing_is_left_behind():
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), X[:4].clone()
    with first_gradient(network, 4) as seen:
        network(x)
        network(x[:2].clone().requires_grad_()).sum().backward()
        assert seen.without_gradient is None
        leaf = x.requires_grad_()
        (network(leaf).sum(1) * torch.tensor([1.0, 0.0, float("nan"), float("inf")])).sum().backward()
        assert seen.without_gradient.tolist() == [False, True, True, True]
        network(x.detach().requires_grad_()).sum().backward()
        assert seen.without_gradient.tolist() == [False, True, True, True]
    assert not network._forward_pre_hooks


def test_the_page_says_it(tmp_path):
    result = evaluate(Times(1e3), TEST, THREAT, "clean,fgsm", name="confident")
    result.save(tmp_path / "result.json")
    assert ", fgsm: no gradient to climb" in page([tmp_path / "result.json"])


def test_pgd_on_a_network_with_gradients_takes_the_steps_that_it_always_took():
    network, attack = linear(X, Y, 10), pgd_20(THREAT)
    from advdistill._internal.rng import ImageRng

    x_adv = attack(network, X, Y, rng=ImageRng(0, "attack", places=range(70)))
    plain = attack.pgd(lambda z: cross_entropy(network(z), Y), X, ImageRng(0, "attack", places=range(70)))
    assert torch.equal(x_adv, plain)
