"""Tests of the training loop's options for every method: weight perturbation, averages, label mixing."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from training import quick, same_weights, short

from advdistill import PGD, Distiller, Linf, Recipe, Schedule, distill
from advdistill._internal.rng import Rng
from advdistill.data import Split
from advdistill.methods import RSLAD
from advdistill.train.average import SWA, averaged, clean_images
from advdistill.train.awp import perturbed


def test_weights_are_moved_by_a_share_of_their_norm_along_the_gradient_and_put_back(tiny):
    student, x = tiny().double(), torch.rand(5, 1, 4, 4, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in student.named_parameters()}

    def loss():
        return student(x).square().mean()

    gradients = dict(zip(before, torch.autograd.grad(loss(), list(student.parameters())), strict=True))
    plain = loss().item()
    with perturbed(student, loss, 0.01, lambda gradient: gradient):
        for name, p in student.named_parameters():
            moved = p.detach() - before[name]
            if p.dim() == 1:
                assert not moved.any()
            else:
                assert moved.norm() == pytest.approx(0.01 * before[name].norm().item())
                assert torch.cosine_similarity(moved.flatten(), gradients[name].flatten(), dim=0) == pytest.approx(1)
        assert loss().item() > plain
    assert all(torch.equal(p, before[name]) for name, p in student.named_parameters())


def test_the_search_for_the_perturbation_leaves_running_statistics_alone():
    student = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2))
    x = torch.rand(8, 1, 4, 4)
    with perturbed(student, lambda: student(x).sum(), 0.1, lambda gradient: gradient):
        assert student[0].num_batches_tracked == 0 and not student[0].running_mean.any()
        student(x)
    assert student[0].num_batches_tracked == 1


def test_the_step_is_taken_from_the_perturbed_weights(tiny):
    """As in the release (methods.md, correction 9), weight decay uses the perturbed weights."""
    student, x = tiny().double(), torch.rand(5, 1, 4, 4, dtype=torch.float64)
    before = [p.detach().clone() for p in student.parameters()]

    def loss():
        return student(x).square().mean()

    optimizer = torch.optim.SGD(student.parameters(), lr=0.5, weight_decay=0.1)
    with perturbed(student, loss, 0.2, lambda gradient: gradient):
        moved = [p.detach().clone() for p in student.parameters()]
        loss().backward()
        gradients = [p.grad.clone() for p in student.parameters()]
        optimizer.step()
    for p, old, new, gradient in zip(student.parameters(), before, moved, gradients, strict=True):
        assert_close(p.detach(), old - 0.5 * (gradient + 0.1 * new))


def test_a_run_takes_its_steps_from_the_perturbed_weights_once_that_has_begun(tmp_path, tiny, monkeypatch):
    seen, step = [], torch.optim.SGD.step

    def noted(optimizer, *args):
        seen.append([p.detach().clone() for p in optimizer.param_groups[0]["params"]])
        return step(optimizer, *args)

    def run(name, **changes):
        seen.clear()
        quick(tmp_path / name, {"student": tiny(0), "teacher": tiny(1)}, "rslad", **changes)
        return list(seen)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    plain, late, early = run("plain"), run("late", awp=0.05, awp_begin=1), run("early", awp=0.05)
    for begin, steps in ((3, late), (0, early)):  # two epochs of three steps
        same = [all(map(torch.equal, *pair)) for pair in zip(plain, steps, strict=True)]
        assert same == [number < begin for number in range(6)]
        matrix = [weights[0] for weights in (plain[begin], steps[begin])]
        assert (matrix[1] - matrix[0]).norm() == pytest.approx(0.05 * matrix[0].norm().item(), rel=1e-4)


def test_awp_changes_the_run_and_a_size_of_zero_does_not(tmp_path, tiny):
    def trained(awp):
        networks = [tiny(seed, classes=10, size=8) for seed in (0, 1, 2)]
        run = distill(
            short("bmtard", epochs=2, awp=awp), tmp_path / str(awp),
            student=networks[0], teacher=networks[1], clean_teacher=networks[2],
        )  # fmt: skip
        return run.last, torch.load(run.state, weights_only=True)["method"][0]

    (plain, state), (zero, same), (moved, _) = trained(None), trained(0.0), trained(0.05)
    assert same_weights(plain, zero) and not same_weights(plain, moved)
    # the search for the perturbation does not count as a step of the method's own state
    assert state.keys() == same.keys() and all(torch.equal(state[name], same[name]) for name in state)


def test_ema_keeps_its_share_of_the_average():
    network = nn.Linear(1, 1, bias=False)
    average = averaged(Recipe(ema=0.75), network, 1)
    for weight in (8.0, 4.0, 0.0):
        nn.init.constant_(network.weight, weight)
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(0.75 * (0.75 * 8 + 0.25 * 4))  # it starts with the first


def test_swa_is_the_mean_of_the_ends_of_epochs_with_fresh_statistics(tmp_path, tiny):
    def weights(epochs, swa):
        # a constant rate: a shorter run is the beginning of a longer one
        recipe = short(epochs=epochs, swa=swa, select_by="clean")
        recipe = recipe.replace(schedule=type(recipe.schedule)("constant"))
        run = distill(recipe, tmp_path / f"{epochs}.{swa}", student=tiny(0, classes=10, size=8),
                      teacher=tiny(1, classes=10, size=8))  # fmt: skip
        return run

    average = torch.load(weights(4, 0.5).state, weights_only=True)["average"]
    third, fourth = (load_file(weights(epochs, None).last) for epochs in (3, 4))
    for name in third:
        assert_close(average[f"module.{name}"], (third[name] + fourth[name]) / 2)
    assert average["n_averaged"] == 2


def test_a_step_is_told_how_far_the_run_is_and_starts_its_attack_elsewhere(tmp_path, tiny, monkeypatch):
    told, craft = [], Distiller.craft

    def noted(distiller, student, x, y, **options):
        told.append((options["progress"], round(options["rate"], 4), options["rng"].generator.initial_seed()))
        return craft(distiller, student, x, y, **options)

    monkeypatch.setattr(Distiller, "craft", noted)
    quick(tmp_path / "run", {"student": tiny(0), "teacher": tiny(1)}, "rslad", schedule=Schedule("cosine"))
    progress, rates, seeds = zip(*told, strict=True)  # two epochs of three steps
    assert progress == (0.5, 0.5, 0.5, 1, 1, 1)
    assert rates == (1, 0.933, 0.75, 0.5, 0.25, 0.067)  # (1 + cos(pi k / 6)) / 2
    assert len(set(seeds)) == 6


@pytest.mark.parametrize(("method", "names"), [
    ("bmtard+igdm", {"weight/adv", "weight/clean", "temperature/adv", "temperature/clean"}),
    ("fair_mtard", {"weight/adv", "weight/clean", "class_weight/min", "class_weight/max"}),
    ("absld", {f"temperature/{side}/{which}" for side in ("adv", "clean") for which in ("min", "max")}),
    ("ciard", {"temperature/adv", "temperature/clean"}),
    ("rslad", set()),
])  # fmt: skip
def test_what_a_method_balances_is_in_the_metrics(tmp_path, tiny, method, names):
    networks = [tiny(seed, classes=10, size=8) for seed in (0, 1, 2)]
    run = distill(short(method, epochs=1), tmp_path / "run", student=networks[0], teacher=networks[1],
                  clean_teacher=networks[2])  # fmt: skip
    (row,) = map(json.loads, run.metrics.read_text().splitlines())
    assert {name for name in row if name.split("/")[0] in ("weight", "temperature", "class_weight")} == names


def test_before_it_begins_the_student_itself_is_evaluated(tmp_path, tiny):
    run = distill(short(epochs=2, swa=1), tmp_path / "run", student=tiny(0, classes=10, size=8),
                  teacher=tiny(1, classes=10, size=8))  # fmt: skip
    state = torch.load(run.state, weights_only=True)
    assert state["average"]["n_averaged"] == 1
    for name, value in load_file(run.last).items():
        assert torch.equal(value, state["average"][f"module.{name}"])


def test_statistics_are_those_of_all_clean_images():
    model = nn.Sequential(nn.BatchNorm2d(1))
    images = torch.randint(0, 256, (512, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(512, dtype=torch.long), ("a",), "made")
    average = SWA(model.eval())
    average.update(model, clean_images(split, torch.device("cpu")))
    model = average.module
    assert model[0].running_mean.item() == pytest.approx((images / 255).mean().item(), abs=1e-6)
    assert model[0].running_var.item() == pytest.approx((images / 255).var().item(), rel=1e-3)
    assert not model.training


def test_a_recipe_has_one_average_or_none(tiny):
    assert averaged(Recipe(), tiny(), 1) is None
    with pytest.raises(ValueError, match=r"ema \(0.99\) and swa \(0.5\) are two averages"):
        Recipe(ema=0.99, swa=0.5)


def test_mixed_labels_by_hand(tiny, batch):
    (x, y), student, teacher = batch, tiny(0), tiny(1)
    attack = PGD(1, 0.05, Linf(0.1), start="none")
    distiller = Distiller(RSLAD(), teacher, attack=attack, label_mixing=0.3)
    made = distiller.craft(student, x, y, rng=Rng(0))
    p = 0.7 * teacher(x).softmax(1) + 0.3 * nn.functional.one_hot(y, 4)
    clean = 1 / 6 * (p * (p.log() - student(x).log_softmax(1))).sum(1)
    assert_close(distiller.losses(made, student)["clean"], clean, rtol=1e-3, atol=1e-5)  # RSLAD's offset of 1e-5
    leaf, p = x.clone().requires_grad_(), p.detach()
    (gradient,) = torch.autograd.grad((p * (p.log() - student(leaf).log_softmax(1))).sum(), leaf)
    assert_close(made.x_adv, (x + 0.05 * gradient.sign()).clamp(0, 1))


@pytest.mark.parametrize(("changes", "message"), [
    ({"awp": -0.1}, "awp must lie between 0 and 1, got -0.1"),
    ({"awp_begin": 50}, "awp_begin must lie between 0 and 49, got 50"),
    ({"swa": 7, "epochs": 5}, "swa must lie between 0 and 4, got 7"),
    ({"label_mixing": 1.0}, "label_mixing must lie between 0 and 0.999, got 1"),
])  # fmt: skip
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)
