"""Tests of NuAT, ADR, LBGAT, AdaGAT, HAT, MTF-ARD: golden values of rivals.md, handwritten loops, mistakes."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from children import advdistill
from conftest import Tiny
from torch import nn
from torch.testing import assert_close
from training import four, quick, short, state_of

from advdistill import ADR, HAT, LBGAT, MTFARD, PGD, AdaGAT, Data, Distiller, Linf, NuAT, distill
from advdistill._internal.rng import Rng
from advdistill.methods import Batch
from advdistill.methods.nuat import nuclear

DOUBLE = {"dtype": torch.float64}
Y = torch.tensor([0, 2])
CLEAN = torch.tensor([[1.0, 0.5, -0.5], [0.2, 0.8, 0.1]], **DOUBLE)
ADV = torch.tensor([[0.6, 0.9, -0.3], [0.1, 1.2, -0.4]], **DOUBLE)
AVERAGE = torch.tensor([[2.0, 1.0, -1.0], [0.5, 1.5, 0.0]], **DOUBLE)
GUIDE = torch.tensor([[1.5, -0.5, 0.0], [-0.2, 0.4, 1.0]], **DOUBLE)


def golden(method, progress=1.0, attacked=True, **options):
    """Return the loss of rivals.md, section 10, its gradients with respect to S(x'), S(x) and P(x), and the batch."""
    x, x_adv = (torch.full((2, 1, 1, 1), value, **DOUBLE) for value in (0.0, 1.0))
    adv, clean, guide = (logits.clone().requires_grad_() for logits in (ADV, CLEAN, GUIDE))
    modules = {"self_teacher": lambda images: AVERAGE}
    batch = Batch(
        x, Y, lambda images: adv if images.flatten()[0] else clean, {"peer": lambda images: guide}, progress,
        modules=modules,
    )  # fmt: skip
    method.inner(batch)
    named = method.outer(batch.attacked(x_adv, batch.student, batch.teachers))
    loss = sum(loss.mean() for loss in named.values())
    return loss.item(), torch.autograd.grad(loss, (adv, clean, guide), allow_unused=True), batch


@pytest.mark.parametrize(("method", "progress", "expected"), [
    (ADR(), 0.3, 1.2954605672),
    (ADR(robust_weight=6.0), 0.3, 1.4728839959),
    (LBGAT(robust_weight=0.0), 1, 1.3857722562),
    (LBGAT(), 1, 1.7964229389),
    (AdaGAT(), 1, 3.6982722562),
    (NuAT(), 0.4, 2.2474119531),  # w = 4.5 * 0.4 / 0.9 = 2
])  # fmt: skip
def test_golden_losses(method, progress, expected):
    assert golden(method, progress)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("method", "progress", "number", "expected"), [
    (ADR(), 0.3, 0, [[-0.1360429805, 0.1175584290, 0.0184845516], [0.0274258874, 0.2028216398, -0.2302475273]]),
    (LBGAT(robust_weight=0.0), 1, 0, [[-0.3, 0.4666666667, -0.1], [0.1, 0.2666666667, -0.4666666667]]),
    (LBGAT(), 1, 0, [[-0.8512832593, 0.9413087349, -0.0233588089], [-0.0542855141, 0.7546520273, -0.8003665132]]),
    (LBGAT(), 1, 1, [[0.5548080104, -0.4590894365, -0.0957185739], [0.1185996591, -0.5172513181, 0.3986516590]]),
    (LBGAT(), 1, 2, [[0.1680623622, -0.4168548426, 0.1821258138], [-0.0185964163, -0.1183396663, 0.2369360826]]),
    (AdaGAT(), 1, 0, [[-0.3, 0.4666666667, -0.1], [0.1, 0.2666666667, -0.4666666667]]),
    (AdaGAT(), 1, 2, [[0.9180623622, -1.5835215093, 0.4321258138], [-0.2685964163, -0.7850063330, 1.4036027493]]),
    (NuAT(), 0.4, 0, [[-0.6629825867, 0.5984705280, 0.4497634010], [-0.0722031615, 0.5468608810, -0.8341042383]]),
    (NuAT(), 0.4, 1, [[0.4362572803, -0.4327210478, -0.3887875748], [0.2063608953, -0.3024095521, 0.4554951757]]),
])  # fmt: skip
def test_golden_gradients(method, progress, number, expected):
    found = golden(method, progress)[1][number]
    assert_close(found, torch.tensor(expected, **DOUBLE), rtol=0, atol=1e-9)


def test_adrs_label_by_hand():
    _, _, batch = golden(ADR(), 0.3)
    expected = [[0.6348742619, 0.2545961252, 0.1105296129], [0.1620351879, 0.2459211650, 0.5920436472]]
    assert_close(batch.notes["label"], torch.tensor(expected, **DOUBLE), rtol=0, atol=1e-9)
    student, average = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(student.weight, 1.0)
    nn.init.constant_(average.weight, 0.4)
    ADR().after_step(student, {"self_teacher": average})
    assert average.weight.item() == pytest.approx(0.403)


def test_adrs_label_of_a_mixed_image_by_hand():
    mixture, logits = torch.tensor([[0.5, 0.5, 0.0]]), 2 * torch.tensor([[0.7, 0.2, 0.1]]).log()
    batch = Batch(torch.zeros(1, 1, 1, 1), torch.tensor([0]), lambda x: x, targets=mixture)  # at the end: t 2, a 0.95
    batch.modules = {"self_teacher": lambda x: logits}
    assert_close(ADR().label(batch), torch.tensor([[0.64, 0.29, 0.07]]))  # doubt 0.7 - 0.45, so 0.7 of P


def test_the_shares_of_the_nuclear_norm_add_up_to_it_over_processes_and_vanish_with_the_change():
    change = CLEAN - ADV
    batch = Batch(torch.zeros(2, 1, 1, 1, **DOUBLE), Y, lambda x: x)
    assert nuclear(batch, change).sum().item() == pytest.approx(1.2375507138, abs=1e-9)
    gram = change.T @ change
    rows = [Batch(batch.x[:1], Y[:1], lambda x: x, total=lambda values: gram) for _ in range(2)]
    assert_close(torch.cat([nuclear(one, change[i : i + 1]) for i, one in enumerate(rows)]), nuclear(batch, change))
    still = torch.zeros(2, 3, **DOUBLE, requires_grad=True)
    (gradient,) = torch.autograd.grad(nuclear(batch, still).sum(), still)
    assert not gradient.any()


class Normed(Tiny):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))


def kl(p, q):
    return F.kl_div(q.log_softmax(1), p.softmax(1), reduction="batchmean")


def climbed(objective, student, x, start, steps=2, step=0.05, eps=0.1, train=False):
    student.train(train)
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(x_adv), x_adv)
        x_adv = (x_adv.detach() + step * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    student.train()
    return x_adv


def trades_attack(net, x, number):
    net.eval()
    clean = net(x).detach()
    return climbed(lambda z: kl(clean, net(z)), net, x, x + 0.001 * Rng(number).normal(x))


def lbgat_by_hand(nets, x, y, number, beta=6.0):
    net, guide = nets["student"], nets["peer"].train()
    x_adv = trades_attack(net, x, number)
    adv, clean, answer = net(x_adv), net(x), guide(x)
    return F.mse_loss(adv, answer) + F.cross_entropy(answer, y) + beta * kl(clean, adv)


def adagat_by_hand(nets, x, y, number):
    net, guide = nets["student"], nets["peer"].train()
    adv = net(trades_attack(net, x, number))
    answer = guide(x)
    pull = 2.5 * F.mse_loss(adv.detach(), answer)
    return F.cross_entropy(answer, y) + F.mse_loss(adv, answer) + pull


def hat_by_hand(nets, x, y, number):
    net, standard = nets["student"], nets["clean_teacher"].eval()
    x_adv = trades_attack(net, x, number)
    clean, adv, helper = net(x), net(x_adv), net(x + 2 * (x_adv - x))
    label = standard(x_adv).argmax(1)
    return F.cross_entropy(clean, y) + 2.5 * kl(clean, adv) + 0.5 * F.cross_entropy(helper, label)


def mtf_by_hand(nets, x, y, number):
    net, teachers = nets["student"], [nets["teacher"].eval(), nets["clean_teacher"].eval()]
    start = (x + 0.1 * (2 * Rng(number).uniform(x) - 1)).clamp(0, 1)
    x_adv = climbed(lambda z: F.cross_entropy(net(z), y), net, x, start)
    first, second = (F.cross_entropy(teacher(x_adv), y, reduction="none").detach() for teacher in teachers)
    share = torch.sigmoid(second - first)[:, None]  # with two teachers, the weight of each is the softmax of the other
    fused = (share * teachers[0](x_adv) + (1 - share) * teachers[1](x_adv)).detach()
    adv = net(x_adv)
    p, q = adv.softmax(1), fused.softmax(1)
    middle = (p + q) / 2
    js = 0.5 * ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)).mean()
    return 0.6 * js + 0.05 * F.cross_entropy(adv, y)


def nuat_by_hand(nets, x, y, number):
    net = nets["student"].eval()
    start, clean = (x + 0.05 * (Rng(number).uniform(x) - 0.5).sign()).clamp(0, 1), net(x).detach()
    weight = 4.5 * 0.5 / 0.9

    def norm(change):
        return torch.linalg.matrix_norm(change, "nuc") / len(x)

    def objective(z):
        return F.cross_entropy(net(z), y) + (number % 2) * weight * norm(clean - net(z))

    x_adv = climbed(objective, net, x, start)
    adv, clean = net(x_adv), net(x)
    return F.cross_entropy(clean, y) + weight * norm(clean - adv)


def adr_by_hand(nets, x, y, number):
    net, average = nets["student"], nets.setdefault("average", deepcopy(nets["student"]).eval())
    if number:
        for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            mean.copy_(0.995 * mean + 0.005 * value if mean.is_floating_point() else value)
    with torch.no_grad():
        p = (average(x) / 2.25).softmax(1)
        share = (0.825 - (p.amax(1) - p[range(len(y)), y])).clamp(0, 1)[:, None]
        label = share * p + (1 - share) * F.one_hot(y, p.shape[1])
    start = (x + 0.1 * (2 * Rng(number).uniform(x) - 1)).clamp(0, 1)
    x_adv = climbed(lambda z: F.cross_entropy(net(z), label), net, x, start, train=True)
    return F.cross_entropy(net(x_adv), label)


LOOPS = {"lbgat": lbgat_by_hand, "adagat": adagat_by_hand, "hat": hat_by_hand, "mtf_ard": mtf_by_hand}
LOOPS |= {"nuat": nuat_by_hand, "adr": adr_by_hand}


@pytest.mark.parametrize("name", LOOPS)
def test_twenty_steps_are_those_of_a_loop_by_hand(name, batch):
    x, y = batch[0].double(), batch[1]
    ours, theirs = ({key: net.double() for key, net in four(Normed).items()} for _ in range(2))
    roles = {"robust": "teacher", "clean": "clean_teacher", "peer": "peer"}
    distiller = Distiller(name, attack=PGD(2, 0.05, Linf(0.1)), **{a: ours[a] for a in roles.values()})
    distiller.prepare(ours["student"], x, y)
    trained = ["student", *(roles[role] for role in distiller.method.trained)]
    optimizers = [torch.optim.SGD([p for net in trained for p in nets[net].parameters()], 0.05, 0.9)
                  for nets in (ours, theirs)]  # fmt: skip
    for number in range(20):
        ours["student"].train()
        loss = distiller(ours["student"], x, y, progress=0.5, rng=Rng(number))
        by_hand = LOOPS[name](theirs, x, y, number)
        for optimizer, value in zip(optimizers, (loss, by_hand), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        distiller.method.after_step(ours["student"], distiller.modules)
        assert_close(loss, by_hand)
    for net in trained:
        assert_close(ours[net].state_dict(), theirs[net].state_dict())


def test_the_average_that_teaches_is_the_one_that_is_kept_with_ema(tmp_path):
    done = quick(tmp_path / "run", four(Normed), "adr", ema=0.995)
    state = state_of(done)
    kept = {name.removeprefix("module."): value for name, value in state["average"].items()}
    teacher = {name.removeprefix("self_teacher.network."): value for name, value in state["modules"].items()}
    first = four(Normed)["student"].state_dict()
    assert teacher.keys() == first.keys()
    for name, value in teacher.items():  # torch's average begins after the first step, the teacher before it
        drift = 0.995**6 * (1 - 0.005) * (first[name] - state["student"][name]).abs().max()
        assert (value - kept[name]).abs().max() <= drift + 1e-6, name


def test_teachers_weigh_as_their_losses_say(batch):
    (x, y), nets = batch, four(Tiny)
    teachers = {"robust": nets["teacher"], "second": nets["clean_teacher"], "third": nets["peer"]}
    made = Batch(x, y, nets["student"], teachers)
    losses = torch.stack([F.cross_entropy(net(x), y, reduction="none") for net in teachers.values()])
    weights = (1 - losses.softmax(0)) / 2
    assert_close(weights.sum(0), torch.ones(6))
    expected = sum(weight[:, None] * net(x) for weight, net in zip(weights, teachers.values(), strict=True))
    assert_close(MTFARD().fused(made), expected)


@pytest.mark.parametrize(("action", "message"), [
    (lambda x, y: ADR(last_trust=1.5), "last_trust of ADR must be a share, at most 1; got 1.5"),
    (lambda x, y: ADR(first_temperature=0.0), "first_temperature of ADR must be a finite number above 0"),
    (lambda x, y: NuAT(ramp=0.0), "ramp of NuAT must be a share of the training above 0, got 0"),
    (lambda x, y: LBGAT(robust_weight=-1.0), "robust_weight of LBGAT must be a finite number of at least 0"),
    (lambda x, y: Distiller("lbgat", peer=Tiny(3))(Tiny(4), x, y), "The peer teacher has 3 classes, the student 4"),
    (lambda x, y: Distiller("adagat")(Tiny(), x, y), "AdaGAT needs a peer teacher; it is missing. Give peer"),
    (lambda x, y: Distiller("mtf_ard", Tiny())(Tiny(), x, y), "MTFARD weighs several teachers .* and was given one"),
    (lambda x, y: Distiller("nuat", attack=PGD(stop_after=0))(Tiny(), x, y), "attack needs a sum over all images"),
    (lambda x, y: Batch(x, y, lambda x: x).copied_student(), "student is a plain function, which cannot be copied"),
])  # fmt: skip
def test_mistakes_are_explained(batch, action, message):
    with pytest.raises(ValueError, match=message):
        action(*batch)


def test_a_self_teacher_together_with_a_teacher_is_refused(tmp_path):
    recipe = short("adr", teacher="runs/t", data=Data("digits"))
    with pytest.raises(ValueError, match="ADR learns from its own average, and does not use the robust teacher"):
        distill(recipe.replace(clean_teacher=None), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()
    done = advdistill("train", "digits.adr", "--teacher", "runs/t", cwd=tmp_path)
    assert done.returncode == 2 and "Leave out --teacher, or choose a method that has a teacher." in done.stderr


def test_hats_helper_label_is_the_standard_networks_at_x_adv(batch):
    (x, y), nets, seen = batch, four(Tiny), []
    standard = nets["clean_teacher"]
    standard.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    made = Batch(x, y, nets["student"], {"clean": standard}, x_adv=x + 0.1)
    HAT().outer(made)
    assert len(seen) == 1 and seen[0] is made.x_adv
