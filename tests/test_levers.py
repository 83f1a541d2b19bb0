"""The levers of docs/levers.md: their values computed by hand, and each lever with every method."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_every_method import Normed
from torch import nn
from torch.testing import assert_close
from training import died_before, differences, four, losses_of, quick, quick_data, state_of

from advdistill import PGD, Data, Distiller, Linf, Recipe, Run, Schedule
from advdistill.attacks import CustomAttack
from advdistill.data.batches import Batches
from advdistill.losses import cross_entropy, smoothed
from advdistill.methods import METHODS, Method
from advdistill.methods.networks import Mixed
from advdistill.models import save
from advdistill.train.average import averaged
from advdistill.train.inputs import network_digest
from advdistill.train.schedule import attack_at

ALL = [name for name, kind in METHODS.items() if issubclass(kind, Method)]


def test_smoothed_labels_by_hand():
    y = smoothed(torch.tensor([2]), 0.1, 4)
    assert_close(y, torch.tensor([[0.025, 0.025, 0.025, 0.925]])[:, [0, 1, 3, 2]])
    logits = torch.tensor([[1.0, 0, 2, 0]])
    log_p = logits.log_softmax(1)[0]
    released = 0.9 * -log_p[2] + 0.1 * -log_p.mean()  # as Wang et al. 2023 write it
    assert_close(cross_entropy(logits, y)[0], released)
    torchs = nn.functional.cross_entropy(logits, torch.tensor([2]), label_smoothing=0.1)
    assert_close(cross_entropy(logits, y)[0], torchs)
    half = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert_close(smoothed(half, 0.2, 4), torch.tensor([[0.45, 0.45, 0.05, 0.05]]))


def test_mixed_labels_enter_a_teachers_outputs():
    hard, soft = (Mixed(lambda x: x, y, 0.1)(torch.zeros(1, 4)).softmax(1) for y in (
        torch.tensor([1]), torch.tensor([[0.0, 0.25, 0.75, 0.0]])))  # fmt: skip
    assert_close(hard, torch.tensor([[0.225, 0.325, 0.225, 0.225]]))
    assert_close(soft, torch.tensor([[0.225, 0.25, 0.3, 0.225]]))


def test_the_decay_of_the_average_by_hand():
    recipe, network = Recipe(ema=0.995, ema_warmup=0.0, epochs=400), nn.Linear(1, 1, bias=False)
    early = averaged(recipe, network, 98)
    for step, decay in {2: 4 / 13, 9: 11 / 20, 99: 101 / 110, 1788: 1790 / 1799, 5000: 0.995}.items():  # d is step + 1
        assert early.decay_at(step) == pytest.approx(decay)
    late = averaged(recipe.replace(ema_warmup=0.025), network, 98)  # 10 epochs of 98 steps: 980
    assert late.warmup == 980 and [late.decay_at(step) for step in (0, 500, 978)] == [0, 0, 0]
    assert late.decay_at(979) == pytest.approx(0.1)
    assert averaged(recipe.replace(ema_warmup=None), network, 98).decay_at(3) == 0.995
    assert early.n_averaged == 0


def test_until_the_warm_up_ends_the_average_is_the_student_and_then_lags(tmp_path, monkeypatch):
    go = partial(quick, tmp_path / "run", four(Normed), "pgd_at", ema=0.9, ema_warmup=1)  # 3 of 6 steps
    died_before(monkeypatch, 2, go)
    state = state_of(Run(tmp_path / "run"))
    for name, value in state["student"].items():
        assert torch.equal(state["average"][f"module.{name}"], value), name
    state = state_of(quick(tmp_path / "whole", four(Normed), "pgd_at", ema=0.9, ema_warmup=1))
    assert not torch.equal(state["average"]["module.head.weight"], state["student"]["head.weight"])


def test_statistics_are_those_of_the_average(tmp_path):
    for average in ({"ema": 0.9}, {"swa": 0.0}):
        options = {"statistics": "clean", "statistics_images": 48, "epochs": 2} | average
        run = quick(tmp_path / next(iter(average)), four(Normed), "pgd_at", **options)
        state, network = state_of(run), Normed()
        network.load_state_dict({k.removeprefix("module."): v for k, v in state["average"].items() if "module." in k})
        network.norm.reset_running_stats()
        network.norm.momentum = None
        used = quick_data().holdout(run.recipe.data.validation, 0)[0]
        for share, _ in zip(Batches(used, 24, "none").epoch(1), range(2), strict=False):
            network(share.x)
        assert_close(state["statistics"]["norm.running_mean"], network.norm.running_mean)


def test_eps_step_size_and_steps_by_epoch():
    attack = PGD(10, 0.02, Linf(0.08))
    recipe = Recipe(attack=attack, eps_warmup=4.0, epochs=20)
    for epoch, share in ((0, 0.25), (1, 0.5), (3, 1.0), (10, 1.0)):
        now = attack_at(recipe, attack, epoch)
        assert (now.threat.eps, now.step_size) == pytest.approx((0.08 * share, 0.02 * share))
    recipe = Recipe(attack=attack, attack_steps_schedule=(2, 5, 10), epochs=9)
    assert [attack_at(recipe, attack, epoch).steps for epoch in (0, 2, 3, 5, 6, 8)] == [2, 2, 5, 5, 10, 10]
    assert attack_at(recipe, attack, 3).step_size == pytest.approx(0.04) and attack_at(recipe, attack, 8) == attack
    assert attack_at(recipe, attack, 0).step_size == pytest.approx(0.08)  # at most eps
    wide = PGD(2, 0.1, Linf(0.08), allow_step_above_eps=True)
    assert attack_at(recipe, wide, 0).step_size == pytest.approx(0.1) and attack_at(recipe, wide, 3).steps == 5
    assert attack_at(recipe, wide, 3).step_size == pytest.approx(0.04)


def test_a_run_attacks_with_the_eps_and_the_steps_of_its_epoch(tmp_path, monkeypatch):
    seen, climb = [], PGD.climb

    def noted(attack, objective, x, x_adv):
        found = climb(attack, objective, x, x_adv)
        seen.append((attack.steps, round((found - x).abs().max().item(), 4)))
        return found

    monkeypatch.setattr(PGD, "climb", noted)
    quick(tmp_path / "run", four(Tiny), "pgd_at", attack=PGD(4, 0.1, Linf(0.2)), eps_warmup=0.99, epochs=2,
          attack_steps_schedule=(2, 4))  # fmt: skip
    training = [each for each in seen if each[0] in (2, 4)]
    assert [steps for steps, _ in training] == [2] * 3 + [4] * 3
    assert [size for _, size in training] == pytest.approx([0.2 / 1.98] * 3 + [0.2] * 3, abs=1e-3)


@pytest.mark.parametrize("fields", [
    {"start": "last"}, {"stop_after": 0}, {"start": "uniform", "start_radius": 2, "projected": False}
], ids=["last", "stopped", "wide"])  # fmt: skip
def test_schedules_with_cheaper_attacks(tmp_path, monkeypatch, fields):
    attack = PGD(2, 0.1, Linf(0.2), student_mode="eval", **fields)
    levers = {"eps_warmup": 1.5, "attack_steps_schedule": (1, 2), "statistics": "adversarial", "statistics_images": 36}
    check(*died_and_whole(tmp_path, monkeypatch, "pgd_at", epochs=3, attack=attack, **levers))


def test_cheaper_attacks_that_need_the_label_of_an_image(tmp_path):
    extra = tmp_path / "extra.npz"
    np.savez(extra, image=np.zeros((30, 4, 4, 1), dtype=np.uint8))
    unlabelled = {"data": Data("random", extra=(str(extra),), extra_fraction=0.5)}
    for method, pgd, levers, message in (
        ("pgd_at", {"stop_after": 1}, MIXED, "stop_after=1 .* with data.mixup and data.cutmix an image has two. Leave"),
        ("rslad", {"stop_after": 1}, unlabelled, "stop_after=1 .* the generated images of data.extra have none"),
        ("pgd_at", {"start": "last"}, MIXED, "start='last' .* with data.mixup and data.cutmix it is another mixture"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(tmp_path / "run", four(Tiny), method, pgd={"steps": 2, "step_size": 0.1, **pgd}, **levers)
        assert not (tmp_path / "run").exists()


MIXED = {"data": Data("random", augment="shift", mixup=1.0, cutmix=1.0)}
TAKES_NO_MIXED = {
    "mart", "iad", "iad2", "adaiad", "fair_ard", "fair_iad", "fair_rslad", "fair_mtard", "dgad", "ciard", "saad",
    "absld",
}  # fmt: skip


SMOOTHED = {
    "standard", "pgd_at", "trades", "mart", "peeraid", "akd2", "iad2", "ciard", "nuat", "lbgat", "adagat", "hat",
    "mtf_ard", "liet",
}  # fmt: skip  # methods with a label term by default


def died_and_whole(tmp_path, monkeypatch, name, **changes):
    """Return a run of two epochs of two steps, and the same run resumed after it died in the second epoch."""
    go = partial(quick, method=name, batch_size=36, schedule=Schedule("constant"), **changes)
    whole = go(tmp_path / "whole", four(Normed))
    died_before(monkeypatch, 3, lambda: go(tmp_path / "died", four(Normed)))
    return whole, go(tmp_path / "died", four(Normed))


def check(whole, died):
    assert differences(state_of(whole), state_of(died)) == []
    assert all(np.isfinite(value) for row in losses_of(whole) for value in row.values())
    assert all(value.isfinite().all() for value in state_of(whole)["student"].values())


@pytest.mark.parametrize("name", ALL)
def test_mixed_labels_with_every_method(tmp_path, monkeypatch, name):
    if name in TAKES_NO_MIXED:
        said = re.escape("compares the label with predictions or indexes by it, and data.mixup and data.cutmix mixes")
        with pytest.raises(ValueError, match=said):
            quick(tmp_path / "run", four(Normed), name, **MIXED)
        assert not (tmp_path / "run").exists()
    else:
        check(*died_and_whole(tmp_path, monkeypatch, name, **MIXED))


@pytest.mark.parametrize("name", ALL)
def test_all_other_levers_with_every_method(tmp_path, monkeypatch, name):
    """Generated data, augmentation, schedules, averaging and a warm start at once."""
    path, init = tmp_path / "extra.npz", tmp_path / "init.safetensors"
    np.savez(path, image=np.random.RandomState(0).randint(256, size=(30, 4, 4, 1)).astype(np.uint8),
             label=np.arange(30) % 4)  # fmt: skip
    begun = Normed()
    save(begun, init)
    source = Data("random", augment="idbh_strong", cutout=2, extra=(str(path),), extra_fraction=0.5)
    levers = {"data": source, "ema": 0.9, "ema_warmup": 0.5, "eps_warmup": 1, "attack_steps_schedule": (1, 2)}
    levers |= {"awp": 0.01, "statistics": "adversarial", "statistics_images": 36}
    levers["student_init"] = f"python:{Path(__file__).with_name('test_every_method.py')}:Normed?checkpoint={init}"
    whole, died = died_and_whole(tmp_path, monkeypatch, name, **levers)
    check(whole, died)
    assert state_of(whole)["inputs"]["digests"]["student_init"] == network_digest(begun)


@pytest.mark.parametrize("name", ALL)
def test_label_smoothing_changes_the_losses_or_is_refused(tmp_path, name):
    def go(folder, **changes):
        return quick(tmp_path / folder, four(Tiny), name, epochs=1, **changes)

    if name in SMOOTHED:
        smooth, plain = go("smooth", label_smoothing=0.2), go("plain")
        assert losses_of(smooth) != losses_of(plain)
    else:
        with pytest.raises(ValueError, match="^label_smoothing has no effect: no cross-entropy in the losses of"):
            go("smooth", label_smoothing=0.2)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="ema_warmup .0.1. needs ema; set ema too, e.g. 0.995"):
        Recipe(ema_warmup=0.1)
    assert Recipe(eps_warmup=50.0, epochs=50).eps_warmup == 50
    with pytest.raises(ValueError, match="eps_warmup must lie between 0 and 50, got 51"):
        Recipe(eps_warmup=51.0, epochs=50)
    with pytest.raises(ValueError, match="eps_warmup and attack_steps_schedule change a PGD; leave"):
        Recipe(attack=CustomAttack("a:b"), eps_warmup=0.1)
    with pytest.raises(ValueError, match="attack.stop_after=2 must be below every number of .* smallest is 2. Leave"):
        Recipe(attack=PGD(10, 0.02, Linf(0.08), stop_after=2), attack_steps_schedule=(2, 5))
    with pytest.raises(ValueError, match="data.mixup and data.cutmix give an image two labels, and a Custom"):
        Recipe(attack=CustomAttack("a:b"), data=Data(mixup=0.1))
    with pytest.raises(ValueError, match="label_smoothing must lie between 0 and 0.999, got 1.5"):
        Recipe(label_smoothing=1.5)
    with pytest.raises(ValueError, match="attack_steps_schedule must lie between 1 and 10000, got 0"):
        Recipe(attack_steps_schedule=(0, 2))


def test_distributions_in_a_loop_of_ones_own(tiny, batch):
    x, y = batch
    targets = smoothed(y, 0.3, 4)
    made = Distiller("pgd_at").craft(tiny(0), x, y, targets=targets)
    assert torch.equal(made.targets, targets)
    with pytest.raises(ValueError, match="^MART compares the label with predictions or indexes by it, and targets"):
        Distiller("mart").craft(tiny(0), x, y, targets=targets)
    stopped = Distiller("pgd_at", attack=PGD(3, 0.05, Linf(0.1), stop_after=1))
    with pytest.raises(ValueError, match="stop_after=1 compares predictions with the label, and with targets an image"):
        stopped.craft(tiny(0), x, y, targets=targets)
    with pytest.raises(ValueError, match=r"floats \[B, K\] for 6 images; got torch.int64 \[6\]"):
        Distiller("pgd_at").craft(tiny(0), x, y, targets=y.clone())
    with pytest.raises(ValueError, match="1 in each row; this batch has a value of 0.15, and a sum that is 1 off"):
        Distiller("pgd_at").craft(tiny(0), x, y, targets=2 * targets)
