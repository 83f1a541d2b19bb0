"""Tests of teachers that train together with the student: CIARD's robust teacher and PeerAiD's peer."""

import math

import pytest
import torch
from conftest import Tiny
from torch import nn
from torch.testing import assert_close
from training import short

from advdistill import PGD, Distiller, Linf, distill
from advdistill._internal.rng import Rng
from advdistill.methods import BMTARD, CIARD, Batch, PeerAiD, build
from advdistill.train.state import Position

ATTACK = PGD(3, 0.05, Linf(0.1))


def divergence(p_logits, q_logits, offset=0.0):
    p, q = p_logits.softmax(1), q_logits.softmax(1)
    return (p * ((p + offset).log() - q.log())).sum(1)


def reaches(loss, network):
    """Whether a gradient of the loss flows to the network."""
    (gradient,) = torch.autograd.grad(loss.sum(), network.head.weight, retain_graph=True, allow_unused=True)
    return gradient is not None


@pytest.fixture
def networks(tiny):
    return [tiny(seed).double() for seed in (0, 1, 2)]


def test_peeraids_losses_by_hand(networks, batch):
    student, peer, _ = networks
    x, x_adv, y = batch[0].double(), batch[0].double() + 0.1, batch[1]
    method = PeerAiD(2.0, 0.3, 0.4, 0.5, 0.6, temperature=5.0, scale=0.1)
    named = method.outer(Batch(x, y, student, {"peer": peer}, x_adv=x_adv))
    adv, clean, tutor, every = student(x_adv), student(x), peer(x_adv), range(6)
    assert_close(named["peer_label"], -2 * tutor.log_softmax(1)[every, y])
    assert_close(named["peer_student"], 0.03 * divergence(adv, tutor))
    assert_close(named["label"], -0.4 * adv.log_softmax(1)[every, y])
    assert_close(named["peer"], 0.05 * 25 * divergence(tutor / 5, adv / 5))
    assert_close(named["self"], 0.06 * 25 * divergence(clean / 5, adv / 5))


def test_peeraids_peer_term_reaches_both_and_the_students_term_only_the_student(networks, batch):
    student, peer, _ = networks
    x, y = batch[0].double(), batch[1]
    named = PeerAiD().outer(Batch(x, y, student, {"peer": peer}, x_adv=x + 0.1))

    def reached(name):
        return [reaches(named[name], network) for network in (student, peer)]

    assert reached("peer_label") == [False, True]
    assert reached("peer_student") == [True, True]
    assert reached("peer") == reached("self") == [True, False]


def test_ciards_losses_by_hand(networks, batch):
    student, teacher, clean = networks
    x, x_adv, y = batch[0].double(), batch[0].double() + 0.1, batch[1]
    method = CIARD(scale=0.25)
    named = method.outer(Batch(x, y, student, {"robust": teacher, "clean": clean}, x_adv=x_adv))
    adv = 0.25 * divergence(teacher(x_adv), student(x_adv), 1e-5)
    nat = 0.25 * divergence(clean(x), student(x), 1e-5)
    assert_close(named["adv"], adv)
    assert_close(named["clean"], nat)
    wrong = clean(x_adv).argmax(1) != y
    assert 0 < wrong.sum() < 6
    push = 0.25 * divergence(clean(x_adv), student(x_adv) / 5, 1e-5)[wrong].mean().item()
    power = min(math.floor(math.log10(loss.mean().item())) for loss in (adv, nat)) - math.floor(math.log10(push))
    assert named["push"].mean().item() == pytest.approx(-(10**power) * push, rel=1e-9)
    assert (named["push"][~wrong] == 0).all()
    assert_close(named["teacher"], -teacher(x_adv).log_softmax(1)[range(6), y])


def test_ciards_temperatures_are_those_of_b_mtard(networks, batch):
    student, teacher, clean = networks
    x, y = batch[0].double(), batch[1]
    methods = CIARD(temperature_rate=0.1), BMTARD(temperature_rate=0.1)
    for method in methods:
        for _ in range(3):
            method.outer(Batch(x, y, student, {"robust": teacher, "clean": clean}, x_adv=x + 0.1))
    temperatures = methods[0].state["temperatures"]
    assert torch.equal(temperatures, methods[1].state["temperatures"]) and temperatures.max() > 1


def test_ciards_teacher_learns_from_labels_alone_and_without_errors_nothing_is_pushed(networks, batch):
    student, teacher, _ = networks
    x, y = batch[0].double(), batch[1]

    def flawless(images):
        return 9.0 * nn.functional.one_hot(y, 4).double()

    named = CIARD().outer(Batch(x, y, student, {"robust": teacher, "clean": flawless}, x_adv=x + 0.1))
    assert (named["push"] == 0).all()
    assert not reaches(named["adv"], teacher) and not reaches(named["clean"], teacher)
    assert reaches(named["teacher"], teacher) and not reaches(named["teacher"], student)


@pytest.mark.parametrize(("epoch", "expected"), [
    (50, 0.0),
    (51, 1e-4 * (1 + math.cos(math.pi / 250)) / 2 * math.exp(-0.01 / 250**2)),
    (175, 1e-4 * 0.5 * math.exp(-0.01 * 0.25)),
    (300, 0.0),
])  # fmt: skip
def test_ciards_teacher_has_its_own_rate(epoch, expected):
    student = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}
    settings = CIARD().parameter_group("robust", student, epoch / 300)
    expected = {"lr": pytest.approx(expected), "momentum": 0.1, "weight_decay": 2e-4, "nesterov": False}
    assert settings == expected


class Normed(Tiny):
    """A network with batch-norm that records its mode, train or eval, at each pass."""

    def __init__(self):
        super().__init__()
        self.norm, self.modes = nn.BatchNorm2d(1), []

    def forward(self, x):
        self.modes.append(self.training)
        return super().forward(self.norm(x))


def test_a_peer_is_attacked_in_eval_mode_and_taught_in_train_mode(tiny, batch):
    peer = Normed()
    distiller = Distiller(PeerAiD(), attack=ATTACK, peer=peer)
    distiller(tiny(), *batch).backward()
    check, *attack, losses = peer.modes
    assert not check and attack == [False] and losses
    assert all(p.grad is not None for p in peer.parameters())


def test_companions_learn_in_a_run_and_are_saved_with_it(tmp_path, tiny):
    first = [tiny(seed, classes=10, size=8) for seed in (0, 1)]
    before = first[1].head.weight.clone()
    distill(short("peeraid", epochs=2), tmp_path / "run", student=first[0], peer=first[1])
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert torch.equal(state["trained"]["peer.head.weight"], first[1].head.weight)
    assert not torch.equal(before, first[1].head.weight)
    assert Position(**state["position"]).epoch == 2


def test_ciards_teacher_waits_for_its_begin(tmp_path, tiny):
    def trained(begin):
        student, teacher, clean = (tiny(seed, classes=10, size=8) for seed in (0, 1, 2))
        recipe = short("ciard", epochs=2).replace(method=CIARD(begin=begin, teacher_lr=0.1))
        distill(recipe, tmp_path / f"{begin}", student=student, teacher=teacher, clean_teacher=clean)
        return teacher.head.weight, tiny(1, classes=10, size=8).head.weight

    late, early = trained(0.999), trained(0.1)
    assert torch.allclose(*late, atol=1e-3) and not torch.allclose(*early, atol=1e-3)


def test_a_peer_must_be_given_beside_an_own_student(tmp_path, tiny):
    with pytest.raises(ValueError, match="PeerAiD needs a peer teacher.*Give peer, a module like the student"):
        distill(short("peeraid"), tmp_path / "run", student=tiny(0, classes=10, size=8))
    assert not (tmp_path / "run").exists()


def test_igdm_on_a_teacher_that_trains_along_sends_it_no_gradient(networks, batch):
    student, teacher, clean = networks
    x, y = batch[0].double(), batch[1]
    method = build("ciard+igdm")
    named = method.outer(Batch(x, y, student, {"robust": teacher, "clean": clean}, x_adv=x + 0.1))
    assert reaches(named["gradient"], student) and not reaches(named["gradient"], teacher)


@pytest.mark.parametrize("name", ["ciard", "ciard+igdm"])
def test_ciards_attack_sees_the_statistics_that_x_has_moved(name, tiny, batch):
    """methods.md, correction 7: the release forwards S(x) in train mode before the attack."""
    student, seen = Normed(), []
    student.norm.register_forward_hook(lambda norm, *_: seen.append((norm.training, norm.running_mean.item())))
    distiller = Distiller(build(name), tiny(1), tiny(2), ATTACK)
    distiller.prepare(student, *batch)
    seen.clear()
    made = distiller.craft(student, *batch)
    moved = 0.1 * batch[0].mean().item()
    assert [training for training, _ in seen] == [True, False, False, False]
    assert [mean for _, mean in seen[1:]] == [pytest.approx(moved)] * 3
    assert student.norm.running_mean.item() == 0 and student.norm.num_batches_tracked == 0  # `losses` moves them
    distiller.losses(made, student)
    assert student.norm.num_batches_tracked == 2  # at x' and x; IGDM's pass at x - d is not tracked


def test_ciards_fast_attack_sees_them_too(batch):
    made = []
    for fast in (None, torch.float32):
        torch.manual_seed(0)
        bodies = [[nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 4)] for _ in range(3)]
        networks = [nn.Sequential(*body) for body in bodies]
        distiller = Distiller(CIARD(), networks[1], networks[2], ATTACK, fast=fast)
        for step in range(2):  # the second step refreshes the copy
            made.append(distiller.craft(networks[0], *batch, rng=Rng(step)).x_adv)
    assert_close(made[:2], made[2:], rtol=0, atol=1e-5)


def test_a_student_attacked_in_train_mode_keeps_what_the_attack_moved(tiny, batch):
    student = Normed()
    attack = PGD(3, 0.05, Linf(0.1), student_mode="train")
    Distiller(CIARD(), tiny(1), tiny(2), attack).craft(student, *batch)
    assert student.norm.num_batches_tracked == 3
