"""Tests of batch-norm's running statistics: the forward passes that update them, and their re-estimation."""

import copy
import json
from functools import partial

import pytest
import torch
from children import together
from conftest import Tiny
from lightning_fabric import Fabric
from safetensors.torch import load_file
from test_every_method import Normed
from torch import nn
from torch.optim.swa_utils import update_bn as torch_update_bn
from torch.testing import assert_close
from training import died_at_saves, differences, four, losses_of, quick, quick_data, state_of

from advdistill import PGD, Data, Distiller, Linf, Recipe, Run, data, methods, models, update_bn
from advdistill._internal.rng import Rng
from advdistill.data import Split
from advdistill.data.batches import Batches
from advdistill.train.checkpoints import accuracies
from advdistill.train.statistics import ReestimatedStatistics

MOMENTUM = 0.1


def tracked(student, *batches):
    """Running mean and variance of `norm` after passes of these images in train mode."""
    norm = copy.deepcopy(student.norm)
    for x in batches:
        hidden = torch.tanh(student.hidden(x.flatten(1))).detach()
        norm.running_mean.lerp_(hidden.mean(0), MOMENTUM)
        norm.running_var.lerp_(hidden.var(0), MOMENTUM)
    return norm.running_mean, norm.running_var


@pytest.mark.parametrize(("name", "passes"), [
    ("rslad", ["adv", "clean"]), ("rslad+igdm", ["adv", "clean"]), ("adaad", ["adv"]), ("adaad+igdm", ["adv"]),
    ("saad", ["adv"]), ("pgd_at", ["adv"]), ("trades", ["clean", "adv"]),
])  # fmt: skip
def test_the_passes_that_are_tracked_are_those_at_x_and_its_adversarial_image(batch, name, passes):
    networks = four(Normed)
    student = networks["student"].train()
    distiller = Distiller(methods.build(name), networks["teacher"], attack=PGD(2, 0.05, Linf(0.1)))
    made = distiller.craft(student, *batch, rng=Rng(0))
    images = {"adv": made.x_adv, "clean": made.x}
    expected = tracked(student, *(images[name] for name in passes))
    distiller.losses(made, student)
    assert_close((student.norm.running_mean, student.norm.running_var), expected)
    assert student.norm.track_running_stats and student.norm.num_batches_tracked == len(passes)


RELEASED = {
    "rslad+igdm": ["adv", "clean", "minus", "adv"], "rslad": ["adv", "clean"], "adaad": ["adv", "clean"],
    "pgd_at": ["adv", "clean"], "saad": ["adv", "minus", "clean"],
}  # fmt: skip


ADVERSARIAL = {"rslad+igdm": ["adv"], "trades": ["adv"], "pgd_at": ["adv"], "hat": ["adv", "helper"],
               "standard": ["clean"]}  # fmt: skip


@pytest.mark.parametrize(("passes", "name"), [
    *(("released", name) for name in RELEASED), *(("adversarial", name) for name in ADVERSARIAL),
])  # fmt: skip
def test_one_switch_chooses_the_passes_that_are_tracked(tmp_path, passes, name, monkeypatch):
    expected = {"released": RELEASED, "adversarial": ADVERSARIAL}[passes][name]
    seen = []
    call = Distiller.losses

    def losses(distiller, batch, student, trained=None):
        bare = student.module if hasattr(student, "module") else student
        minus, helper = 2 * batch.x - batch.x_adv, 2 * batch.x_adv - batch.x
        images = {"adv": batch.x_adv, "clean": batch.x, "minus": minus, "helper": helper}
        seen.append(tracked(bare, *(images[each] for each in expected)))
        return call(distiller, batch, student, trained)

    monkeypatch.setattr(Distiller, "losses", losses)
    run = quick(tmp_path / "run", four(Normed), name, passes=passes, epochs=1, batch_size=72)
    ((mean, variance),) = seen  # one step
    kept = state_of(run)["student"]
    before = four(Normed)["student"]
    assert_close((kept["norm.running_mean"], kept["norm.running_var"]), (mean, variance))
    assert not torch.equal(kept["hidden.weight"], before.hidden.weight)


OPTIONS = {"statistics_images": 48, "data": Data("random", augment="shift")}


@pytest.mark.parametrize("kind", ["adversarial", "clean", "mixed"])
def test_the_saved_networks_statistics_are_those_of_the_images_by_hand(tmp_path, kind):
    run = quick(tmp_path / "run", four(Normed), "rslad", statistics=kind, **OPTIONS)
    plain = quick(tmp_path / "plain", four(Normed), "rslad", **OPTIONS)
    kept, trained = load_file(run.last), load_file(plain.last)
    weights = [name for name in kept if "running" not in name]
    assert all(torch.equal(kept[name], trained[name]) for name in weights)  # the training is the same
    assert differences(state_of(run)["student"], state_of(plain)["student"]) == []

    networks, recipe = four(Normed), run.recipe
    student = networks["student"]
    student.load_state_dict(state_of(run)["student"])
    used, _ = quick_data().holdout(recipe.data.validation, recipe.seed)
    batches = Batches(used, recipe.batch_size, recipe.data.augment, recipe.seed)
    distiller, hidden = Distiller(recipe.method, networks["teacher"], attack=recipe.attack), []
    for at, share in zip(range(2), batches.epoch(1), strict=False):
        made = distiller.craft(student.eval(), share.x, share.y, rng=Rng(recipe.seed, "statistics", 1, at))
        images = {"adversarial": [made.x_adv], "clean": [made.x], "mixed": [made.x_adv, made.x]}[kind]
        hidden += [torch.tanh(student.hidden(x.flatten(1))).detach() for x in images]
    assert_close(kept["norm.running_mean"], torch.stack([each.mean(0) for each in hidden]).mean(0))
    assert_close(kept["norm.running_var"], torch.stack([each.var(0) for each in hidden]).mean(0))


def test_the_attack_on_a_fast_copy_gives_the_same_statistics():
    """The fast copy is of the network whose statistics are estimated; the trained network has other weights."""
    torch.manual_seed(0)
    teacher, trained, network = (models.create("convnet-2", 4, 1).eval() for _ in range(3))
    split = Split(torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8), torch.arange(64) % 4, ("a", "b", "c", "d"), "r")
    recipe = Recipe(student="convnet-2", batch_size=16, statistics="adversarial", data=Data("random"))
    one, found = Fabric(accelerator="cpu", devices=1), []
    for fast in (None, torch.float32):
        distiller = Distiller("rslad", teacher, attack=PGD(3, 0.05, Linf(0.1)), fast=fast)
        distiller.craft(trained, split.images / 255, split.labels, rng=Rng(0))
        found.append(ReestimatedStatistics(recipe, distiller, split, one)(network, 0))
    assert len(found[0]) == 6
    assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["adversarial", "clean", "mixed"])
def test_statistics_in_a_loop_of_ones_own_are_those_of_the_images_by_hand(kind):
    networks, split = four(Normed), quick_data()
    student = networks["student"].train()
    batches = [(x.float() / 255, y) for x, y in zip(split.images.split(20), split.labels.split(20), strict=True)]
    distiller = Distiller("rslad", networks["teacher"], attack=PGD(2, 0.05, Linf(0.1)))
    before, hidden = copy.deepcopy(student), []
    for at, (x, y) in enumerate(batches):
        made = distiller.craft(before, x, y, rng=Rng(7, "statistics", 0, at))
        images = {"adversarial": [made.x_adv], "clean": [x], "mixed": [made.x_adv, x]}[kind]
        hidden += [torch.tanh(before.hidden(each.flatten(1))).detach() for each in images]
    assert update_bn(student, iter(batches), distiller, kind, seed=7) is None
    assert_close(student.norm.running_mean, torch.stack([each.mean(0) for each in hidden]).mean(0))
    assert_close(student.norm.running_var, torch.stack([each.var(0) for each in hidden]).mean(0))
    assert student.norm.num_batches_tracked == len(hidden) and student.training and student.norm.momentum == MOMENTUM
    assert differences(dict(student.named_parameters()), dict(before.named_parameters())) == []


def test_of_clean_images_they_are_torchs_and_of_adversarial_ones_a_recipes():
    torch.manual_seed(0)
    teacher, ours, theirs, recipes = (models.create("convnet-2", 10, 1).eval() for _ in range(4))
    for network in (theirs, recipes):
        network.load_state_dict(ours.state_dict())
    split, attack = data.load("digits", "train").first(96), PGD(3, 0.05, Linf(0.1))
    batches = [(share.x, share.y) for share in Batches(split, 32, "shift", 5).epoch(0)]
    distiller = Distiller("adaad", teacher, attack=attack)
    update_bn(ours, batches, distiller, "clean")
    torch_update_bn([x for x, _ in batches], theirs)
    assert_close(ours.state_dict(), theirs.state_dict())
    recipe = Recipe(student="convnet-2", batch_size=32, statistics="adversarial", data=Data("digits", augment="shift"),
                    seed=5)  # fmt: skip
    found = ReestimatedStatistics(recipe, distiller, split, Fabric(accelerator="cpu", devices=1))(recipes, 0)
    update_bn(recipes, batches, distiller, seed=5)
    assert len(found) == 6 and differences(found, {name: recipes.state_dict()[name] for name in found}) == []


def test_what_update_bn_cannot_do():
    network, x, y = four(Normed)["student"], torch.rand(4, 1, 8, 8), torch.arange(4) % 3
    distiller = Distiller("pgd_at", attack=PGD(1, 0.1, Linf(0.1)))
    with pytest.raises(ValueError, match="Unknown kind of images 'adverserial'. Did you mean 'adversarial'"):
        update_bn(network, [(x, y)], distiller, "adverserial")
    with pytest.raises(ValueError, match="update_bn got no batch. A generator can be used once"):
        update_bn(network, iter([]), distiller)
    for wrong, found in ((x, "Tensor of 4"), ((x, y, y), "tuple of 3")):
        with pytest.raises(ValueError, match=f"takes pairs of images and labels; got a {found}"):
            update_bn(network, [wrong], distiller)
    plain = Tiny()
    before = copy.deepcopy(plain.state_dict())
    update_bn(plain, iter([]), distiller)  # nothing to estimate
    assert differences(plain.state_dict(), before) == []


def test_the_validated_network_is_the_saved_one_and_its_header_says_so(tmp_path):
    run = quick(tmp_path / "run", four(Normed), "rslad", statistics="adversarial", **OPTIONS)
    saved, recipe = four(Normed)["student"], run.recipe
    saved.load_state_dict(load_file(run.best))
    held_out = quick_data().holdout(recipe.data.validation, recipe.seed)[1]
    one = Fabric(accelerator="cpu", devices=1)
    found = accuracies(saved, held_out, recipe.attack.threat, recipe.seed, one)
    (row,) = (row for row in map(json.loads, run.metrics.read_text().splitlines()) if "clean" in row)
    assert found == {name: row[name] for name in found}
    assert run.chosen.endswith("epoch 2 of 2; batch-norm statistics of 48 adversarial training images")
    assert quick(tmp_path / "plain", four(Normed), "rslad").chosen.endswith("epoch 2 of 2")


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"swa": 0.0}], ids=str)
def test_a_run_that_died_anywhere_saves_the_same_statistics(tmp_path, monkeypatch, options):
    changes = OPTIONS | options | {"statistics": "mixed", "validate_every": 1}
    whole = quick(tmp_path / "whole", four(Normed), "fair_rslad", **changes)
    again = partial(quick, tmp_path / "died", method="fair_rslad", **changes)
    # at the last death the state of an epoch's end is written, but its checkpoint is not
    died, _ = died_at_saves(monkeypatch, lambda: again(four(Normed)), 3, 6, 9, after=12)
    assert differences(state_of(whole), state_of(died)) == [] and losses_of(whole) == losses_of(died)
    for file in ("best", "last"):
        assert differences(load_file(getattr(whole, file)), load_file(getattr(died, file))) == []


def test_two_processes_estimate_what_one_does(tmp_path):
    for done in together(2, lambda: main(tmp_path / "two", 2)):
        assert done.returncode == 0, done.stderr
    main(tmp_path / "one", 1)
    one, two = (load_file(Run(tmp_path / name).last) for name in ("one", "two"))
    assert one["norm.running_mean"].abs().max() > 0
    for name in ("norm.running_mean", "norm.running_var"):
        assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)


class Still(Normed):
    """A network with fixed batch-norm statistics in training, so that one and two processes train the same network."""

    def forward(self, x):
        norm, hidden = self.norm, torch.tanh(self.hidden(x.flatten(1)))
        estimating = norm.momentum is None
        return self.head(norm(hidden) if estimating else nn.functional.batch_norm(
            hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias))  # fmt: skip


def main(folder, processes):
    quick(folder, four(Still), "pgd_at", devices=processes, batch_size=21, statistics="mixed", statistics_images=63)


def test_without_batch_norm_nothing_is_done_and_a_line_says_so(tmp_path, capfd):
    run = quick(tmp_path / "run", four(Tiny), "rslad", statistics="adversarial")
    assert "statistics=adversarial has no effect: the student has no batch-norm." in capfd.readouterr().err
    assert differences(load_file(run.last), load_file(quick(tmp_path / "plain", four(Tiny), "rslad").last)) == []


class Reparametrised(Normed):
    """A network whose weight is computed at each pass, so that copy.deepcopy fails."""

    def __init__(self):
        super().__init__()
        with pytest.warns(FutureWarning, match="weight_norm"):
            self.hidden = nn.utils.weight_norm(self.hidden)


def test_a_network_whose_weights_are_computed_is_estimated_too(tmp_path):
    kept = load_file(quick(tmp_path / "run", four(Reparametrised), "rslad", statistics="adversarial", **OPTIONS).last)
    plain = load_file(quick(tmp_path / "plain", four(Reparametrised), "rslad", **OPTIONS).last)
    assert differences(kept, plain) == ["/norm.running_mean", "/norm.running_var"]


def test_the_choice_is_a_field_of_the_recipe():
    recipe = Recipe.from_yaml("{statistics: adversarial, statistics_images: 100, passes: released}")
    assert (recipe.statistics, recipe.statistics_images, recipe.passes) == ("adversarial", 100, "released")
    with pytest.raises(ValueError, match="statistics cannot be 'advers'"):
        Recipe.from_yaml("statistics: advers")
    with pytest.raises(ValueError, match="statistics_images must lie between 1 and"):
        Recipe.from_yaml("statistics_images: 0")
