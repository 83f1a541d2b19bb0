"""Every registered method, alone and with IGDM: registering a new method is enough for it to be tested here."""

import json
import subprocess
import sys
from copy import deepcopy
from functools import partial

import pytest
import torch
from children import PATIENCE
from conftest import ENV, ROOT, Tiny
from in_processes import main
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from training import ROLES, assert_same_path, died_at_saves, differences, four, losses_of, quick, state_of

from advdistill import Run, methods
from advdistill._internal.rng import Rng
from advdistill.attacks import PGD
from advdistill.distiller import Distiller
from advdistill.methods import METHODS, Batch, Method, build, from_config, to_config
from advdistill.methods.fair import ByClass
from advdistill.threat import Linf

ALL = [name for name, kind in METHODS.items() if issubclass(kind, Method)]
ALL += [f"{name}+igdm" for name in ALL if name not in ("standard", "saad")]  # SAAD contains that term already
ATTACKING = [name for name in ALL if name != "standard"]

OPTIONS = {"awp": 0.01, "swa": 0.0, "label_mixing": 0.1}
RUNS = {name: {"method": name} for name in ALL}
RUNS |= {f"{name} with options": {"method": name} | OPTIONS for name in ("bmtard", "fair_rslad", "ciard", "peeraid")}
RUNS["lbgat"]["seed"] = 1  # with seed 0, the sign of a gradient near zero depends on the order of summation
LAST, EARLY = {"steps": 2, "step_size": 0.1, "start": "last"}, {"steps": 3, "step_size": 0.1, "stop_after": 0}
RUNS["pgd_at from the last x'"] = {"method": "pgd_at", "awp": 0.01, "pgd": LAST}
ONE_STEP = {"steps": 1, "step_size": 0.2}
RUNS["liet with new label images"] = {"method": {"liet": {"every": 2}}, "awp": 0.01, "pgd": ONE_STEP}
RUNS["trades ending early"] = {"method": "trades", "pgd": EARLY}
STOPPED = {"guide_adv"}  # losses in which the method stops the student's gradient


class Normed(Tiny):
    """`Tiny` with batch-norm."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return self.head(self.norm(torch.tanh(self.hidden(x.flatten(1)))))


def losses(method, networks, x, y, rate=1.0):
    """Losses of a step with a fixed x', at which the attack's objective was evaluated once."""
    teachers = {role: networks[argument] for role, argument in ROLES.items()}
    made = Batch(x, y, networks["student"], teachers, 0.5, rate=rate)
    made.modules = method.__dict__.setdefault("made", method.modules(made))
    x_adv = (x + 0.1 * torch.sign(torch.sin(100 * x.float()))).clamp(0, 1)
    if objective := method.inner(made):
        objective(x_adv.clone().requires_grad_())
    return method.outer(made.attacked(x_adv, networks["student"]))


def trained_ones(method, networks):
    return [networks["student"], *(networks[ROLES[role]] for role in method.trained)]


def test_every_method_names_its_reference_and_is_described():
    rows = methods.describe()
    assert [row["name"].lstrip("+") for row in rows] == list(METHODS)
    assert all("20" in row["reference"] for row in rows if row["name"] != "standard")


@pytest.mark.parametrize("name", ALL)
def test_a_method_goes_to_plain_values_and_back(name):
    method = build(name)
    assert from_config(to_config(method)) == method


@pytest.mark.parametrize("name", ATTACKING)
def test_the_attack_stays_in_the_ball_and_raises_its_objective(name, tiny, batch):
    method, student, teacher, (x, y) = build(name), tiny(0), tiny(1), batch
    made = Batch(x, y, student, {"robust": teacher, "peer": teacher})
    made.modules = method.modules(made)
    inner = method.inner(made)
    attack = Distiller(method, teacher, teacher, PGD(10, 0.025, Linf(0.1)), peer=teacher).attack
    x_adv = attack(inner, x)
    assert attack.threat.distance(x_adv, x).max() <= 0.1 + 1e-6
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (inner(x_adv) > inner(x)).all()


@pytest.mark.parametrize("name", ALL)
def test_losses_are_per_example_and_their_gradient_is_that_of_finite_differences(name, batch):
    method, networks = build(name), {key: network.double() for key, network in four(Tiny).items()}
    x, y = batch[0].double(), batch[1]

    def named():
        found = losses(method, networks, x, y, rate=0.0)  # rate 0 keeps what a method balances by itself fixed
        return {name: loss for name, loss in found.items() if name not in STOPPED}

    first, weight = named(), networks["student"].head.weight
    assert first and all(loss.shape == (len(x),) and loss.isfinite().all() for loss in first.values())
    (gradient,) = torch.autograd.grad(sum(loss.mean() for loss in first.values()), weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            weight += step * direction
            values.append(sum(loss.mean() for loss in named().values()))
    assert_close((values[0] - values[1]) / 2e-5, (gradient * direction).sum(), rtol=1e-6, atol=1e-9)


def in_precision(dtype, name, x, y):
    """Losses, the student's gradients and the method's state in a second step, on other images and an epoch later."""
    method, networks = build(name), {key: network.to(dtype) for key, network in four(Normed).items()}
    losses(method, networks, x.to(dtype), y)
    method.end_epoch(1.0)
    named = losses(method, networks, x.flip(3).to(dtype), y)
    assert all(loss.dtype == dtype for loss in named.values())
    total = sum(loss.mean() for loss in named.values())
    gradients = torch.autograd.grad(total, list(networks["student"].parameters()))
    return named, gradients, [part.state for part in method.parts]


@pytest.mark.parametrize("name", ALL)
def test_fp32_agrees_with_float64(name, batch):
    single, double = (in_precision(dtype, name, *batch) for dtype in (torch.float32, torch.float64))
    assert_close(single[1:], double[1:], rtol=1e-4, atol=1e-6, check_dtype=False)
    # t^2 KL is t^2 times a sum of differences of nearly equal logarithms: fp32 loses digits that the gradient keeps
    softening = getattr(build(name).parts[0], "temperature", 1.0) ** 2
    assert_close(single[0], double[0], rtol=1e-4, atol=1e-6 * softening, check_dtype=False)


@pytest.mark.parametrize("name", ALL)
def test_a_step_lowers_the_loss(name, tiny, batch):
    student, (x, y) = tiny(0), batch
    distill = Distiller(build(name), tiny(1), tiny(2), PGD(3, 0.05, Linf(0.1)), peer=tiny(3))
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    before = distill(student, x, y, rng=Rng(0))
    before.backward()
    optimizer.step()
    assert distill(student, x, y, rng=Rng(0)) < before


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_what_trains_and_nothing_else(name, batch):
    method, networks = build(name), four(Normed)
    student, teacher, clean_teacher, peer = networks.values()
    distiller = Distiller(method, teacher, clean_teacher, PGD(2, 0.05, Linf(0.1)), peer=peer)
    before = deepcopy(networks)
    made = distiller.craft(student, *batch, rng=Rng(0))
    attacked_in_train_mode = distiller.attack.student_mode == "train"
    for key, network in networks.items():
        assert all(p.grad is None for p in network.parameters())
        changed = differences(before[key].state_dict(), network.state_dict())
        assert bool(changed) == (key == "student" and attacked_in_train_mode)

    sum(loss.mean() for loss in distiller.losses(made, student).values()).backward()
    for key, network in networks.items():
        if network in trained_ones(method, networks):
            assert all(p.grad.any() for p in network.parameters()) and network.training
        else:
            assert all(p.grad is None for p in network.parameters())
            assert not differences(before[key].state_dict(), network.state_dict())


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_died_anywhere_ends_bit_for_bit_the_same(tmp_path, monkeypatch, name):
    whole = quick(tmp_path / "whole", four(Normed), **RUNS[name])
    again = partial(quick, tmp_path / "died", **RUNS[name])
    died, saves = died_at_saves(monkeypatch, lambda: again(four(Normed)), 3, 7, 11)
    # died in the first epoch, between the two saves at its end, and in the second epoch
    assert [saves[n - 1] for n in (3, 7, 11)] == [(0, 2), (1, 0), (1, 2)]
    assert differences(state_of(whole), state_of(died)) == []
    assert differences(load_file(whole.last), load_file(died.last)) == []
    assert losses_of(whole) == losses_of(died)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, request):
    """The folder of all runs by two processes, made in one launch."""
    folder = tmp_path_factory.mktemp("two")
    asked = [item.callspec.params["name"] for item in request.session.items if "two_processes" in item.fixturenames]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command = [*launch, "--nproc-per-node", "2", ROOT / "tests" / "in_processes.py", folder, "2"]
    command += [json.dumps({name: RUNS[name] for name in asked})]
    done = subprocess.run(command, env=ENV, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_follow_the_path_of_one(tmp_path, two_processes, name):
    main(tmp_path, 1, {name: RUNS[name]})
    assert_same_path(Run(tmp_path / name), Run(two_processes / name))


@pytest.mark.parametrize("options", [OPTIONS, {"ema": 0.9}], ids="+".join)
@pytest.mark.parametrize("name", ALL)
def test_options_of_the_loop(tmp_path, name, options):
    method, networks = build(name), four(Normed)
    before = deepcopy(networks)
    run = quick(tmp_path / "run", networks, name, **options)
    kept, average = load_file(run.last), state_of(run)["average"]
    assert average["n_averaged"] == (6 if "ema" in options else 2)
    assert all(value.isfinite().all() and torch.equal(value, average[f"module.{key}"]) for key, value in kept.items())
    assert differences(load_file(run.best), kept) == []  # only the last epoch was validated
    assert all(value == value for row in losses_of(run) for value in row.values())
    for key, network in networks.items():
        same = [torch.equal(*pair) for pair in zip(before[key].parameters(), network.parameters(), strict=True)]
        assert not any(same) if network in trained_ones(method, networks) else all(same)


K, B = 4, 6
BATCHES = "all right", "all wrong", "one image", "one class", "identical images", "logits of 1e4", "teacher is student"
FURTHER = {  # terms that the default coefficients leave out
    "ard labels": {"ard": {"distill_weight": 0.5}},
    "iad labels": {"iad": {"distill_weight": 0.5, "temperature": 4.0}},
    "fair_iad labels": {"fair_iad": {"distill_weight": 0.5}},
    "iad2 softened": {"iad2": {"temperature": 4.0}},
    "adaad clean": {"adaad": {"adv_weight": 0.5}},
    "saad-c": {"saad": {"clean_weight": 0.5}},
    "saad as released": {"saad": {"clean_weight": 0.5, "batch_relative": True}},
    "peeraid labels": {"peeraid": {"label_weight": 0.5}},
    "rslad+igdm off": {"rslad": {}, "igdm": {"plus": 0.5, "minus": 2.0}},
}


def unlucky(situation, dtype):
    """Networks by their names as arguments of distill, images and labels; no batch-norm hides the situation."""
    x = torch.rand(B, 1, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    networks, y = {key: network.to(dtype) for key, network in four(Tiny).items()}, torch.arange(B) % K
    with torch.no_grad():
        answers = torch.stack([networks[key](x) for key in ("teacher", "clean_teacher", "student", "peer")])
        if situation in ("all right", "all wrong"):  # all networks get the same weights, so that they agree
            for network in networks.values():
                network.load_state_dict(networks["clean_teacher"].state_dict())
            y = (answers[1].argmax(1) + (situation == "all wrong")) % K
        if situation == "logits of 1e4":
            for network, answer in zip(networks.values(), answers, strict=True):
                network.head.weight *= 1e4 / answer.abs().max()
                network.head.bias *= 1e4 / answer.abs().max()
        if situation == "teacher is student":
            for key in ("teacher", "clean_teacher", "peer"):
                networks[key].load_state_dict(networks["student"].state_dict())
    if situation == "one image":
        x, y = x[:1], y[:1]
    if situation == "one class":
        y = torch.zeros_like(y)
    if situation == "identical images":
        x = x[:1].expand(B, -1, -1, -1).clone()
    return networks, x, y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("situation", BATCHES)
@pytest.mark.parametrize("name", [*ALL, *FURTHER])
def test_values_and_gradients_are_finite_on_unlucky_batches(name, situation, dtype):
    networks, x, y = unlucky(situation, dtype)
    student, teacher, clean_teacher, peer = networks.values()
    method = from_config(FURTHER[name]) if name in FURTHER else build(name)
    attack = PGD(2, 1e-6, Linf(1e-6))  # so small that x' is classified as x is
    distiller = Distiller(method, teacher, clean_teacher, attack, peer=peer)
    for step in range(3):  # later steps use the state that the first one left
        made = distiller.craft(student, x, y, progress=(step + 1) / 3, rng=Rng(step))
        named = distiller.losses(made, student)
        assert made.x_adv.isfinite().all() and all(loss.isfinite().all() for loss in named.values()), step
        sum(loss.mean() for loss in named.values()).backward()
        for network in trained_ones(method, networks):
            assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None), step
        assert all(value.isfinite().all() for part in method.parts for value in part.state.values()), step
        if len(y.unique()) == K:
            method.end_epoch(1.0)


@pytest.mark.parametrize("situation", ["one image", "one class"])
@pytest.mark.parametrize("name", [name for name in ALL if issubclass(type(build(name).parts[0]), ByClass)])
def test_methods_by_class_refuse_an_epoch_without_some_class(name, situation):
    networks, x, y = unlucky(situation, torch.float32)
    method = build(name)
    losses(method, networks, x, y)
    with pytest.raises(ValueError, match=r"needs images of every class in every epoch; class 1 had none"):
        method.end_epoch(1.0)


@pytest.mark.parametrize("name", ["fair_ard", "fair_iad", "fair_rslad", "fair_mtard"])
def test_class_weights_are_finite_for_any_exponent(name):
    method = from_config({name: {"class_exponent": 50.0}})
    method.state["sums"] = torch.tensor([[0.0, 8.0], [3.0, 8.0], [80.0, 8.0]])  # the attack breaks all of class 0
    method.end_epoch(1.0)
    assert_close(method.state["class_weights"], torch.tensor([2.5, 5 / 6, 5 / 6]))


@pytest.mark.parametrize("name", ["mtard", "bmtard", "fair_mtard", "ciard"])
def test_a_scale_of_zero_leaves_what_is_balanced_finite(name, batch):
    method, networks = from_config({name: {"scale": 0.0}}), four(Tiny)
    for _ in range(2):
        named = losses(method, networks, *batch)
        assert all(loss.isfinite().all() for loss in named.values())
        assert all(value.isfinite().all() for value in method.state.values())
