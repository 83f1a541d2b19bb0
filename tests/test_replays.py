"""Twenty steps of five methods against loops written by hand after the corrected definitions of methods.md.

The loops use only torch, run forward passes in the releases' order, and take sums and means as they are defined. If a
method's page says that we leave out a release's mistake, so do the loops.
"""

import math
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from advdistill import PGD, Distiller, Linf, Schedule
from advdistill._internal.rng import Rng
from advdistill.methods import CIARD, IADII, SAAD, FairIAD, FairMTARD
from advdistill.train.schedule import rate

K, B, EPOCHS, BATCHES = 4, 16, 5, 4  # 20 steps; every batch has four images of each class
EPS, STEP, STEPS = 0.1, 0.03, 5
RATES = [1.0, 1.0, 0.1, 0.1, 0.01]
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-3}


def network(seed):
    """A network with batch-norm, so that the order and the number of forward passes matter."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(128, K))
    return body.double()


@pytest.fixture
def setting():
    with torch.random.fork_rng(devices=[]):
        networks = {name: network(seed) for seed, name in enumerate(("student", "teacher", "clean"))}
        for name in ("teacher", "clean"):
            networks[name](torch.rand(64, 1, 4, 4).double())
            networks[name].eval().requires_grad_(False)
        images = torch.rand(BATCHES, B, 1, 4, 4).double()
    return SimpleNamespace(images=images, y=torch.arange(B) % K, **networks)


def steps(setting):
    """Yield the epoch counted from 0, images, labels and random generator of each step."""
    for epoch in range(EPOCHS):
        for number, x in enumerate(setting.images):
            yield epoch, x, setting.y, Rng("replay", epoch, number)


def ours(setting, method, rates=RATES, eps=EPS, size=STEP):
    """The student after 20 steps of the method, and the Distiller."""
    student, nets = deepcopy(setting.student), deepcopy(setting)
    clean = nets.clean if "clean" in method.teachers else None
    distiller = Distiller(method, nets.teacher, clean, PGD(STEPS, size, Linf(eps)))
    groups = [{"params": list(network.parameters())} for network in (student, *distiller.trained.values())]
    optimizer = torch.optim.SGD(groups, **SGD)
    for number, (epoch, x, y, rng) in enumerate(steps(setting)):
        progress = (epoch + 1) / EPOCHS
        optimizer.param_groups[0].update(SGD | {"lr": SGD["lr"] * rates[epoch]})
        for name, group in zip(distiller.trained, optimizer.param_groups[1:], strict=True):
            group.update(method.parameter_group(name, SGD, progress))
        student.train()
        batch = distiller.craft(student, x, y, progress=progress, rate=rates[epoch], rng=rng)
        loss = sum(values.mean() for values in distiller.losses(batch, student).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (number + 1) % BATCHES == 0:
            method.end_epoch(rates[min(epoch + 1, EPOCHS - 1)])
    return student, distiller


def step(optimizer, loss, factor):
    optimizer.param_groups[0]["lr"] = SGD["lr"] * factor
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def attack(x, start, value, eps=EPS, size=STEP):
    """Signed ascent, then projection into the ball and into [0, 1]; `value` may record each iterate."""
    x_adv = start
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(x_adv), x_adv)
        x_adv = torch.min(torch.max(x_adv.detach() + size * gradient.sign(), x - eps), x + eps).clamp(0, 1)
    return x_adv.detach()


def element_mean(target, logits, offset=0.0):
    """Mean over all elements of p log(p / q), from logits; p is the teacher's."""
    p = target.softmax(1)
    return (p * ((p + offset).log() - logits.log_softmax(1))).mean()


def divergence(target, logits):
    """KL of each image, in nats."""
    return F.kl_div(logits.log_softmax(1), target.softmax(1), reduction="none").sum(1)


def same(student, by_hand):
    """Check that weights and running statistics have changed and agree to rounding."""
    moved = [not torch.equal(a, b) for a, b in zip(network(0).state_dict().values(), by_hand.values(), strict=True)]
    assert all(moved)
    assert_close(student.state_dict(), by_hand, rtol=1e-9, atol=1e-11)


def test_ciard(setting):
    """Section 2.14 with corrections 1 and 7; the learning rate counts epochs from 1, as in the release."""
    begin, hold = 1, 2
    schedule = Schedule("cosine", hold=hold, by="epoch")
    factors = [rate(schedule, epoch + 0.3, EPOCHS) for epoch in range(EPOCHS)]
    method = CIARD(scale=1 / K, begin=begin / EPOCHS, temperature_rate=0.05, teacher_lr=0.02)
    student, distiller = ours(setting, method, factors)

    S, T, N = (deepcopy(net) for net in (setting.student, setting.teacher, setting.clean))
    T.train().requires_grad_(True)
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    of_teacher = torch.optim.SGD(T.parameters(), lr=0.0, momentum=0.1, weight_decay=2e-4)
    t_adv, t_nat, errors = 1.0, 1.0, []
    for epoch, x, y, rng in steps(setting):
        e = epoch + 1
        factor = 1.0 if e < hold else 0.5 + 0.5 * math.cos(math.pi * (e - hold) / (EPOCHS - hold))
        S.train()
        clean = S(x)
        S.eval()
        x_adv = attack(x, x + 0.001 * rng.normal(x), lambda z, y=y: F.cross_entropy(S(z), y))
        S.train()
        with torch.no_grad():
            T(x)  # updates running statistics that nothing reads
        t, adv = T(x_adv), S(x_adv)
        soft_adv, soft_nat, natural = t.detach(), N(x), N(x_adv)
        L1, L2 = element_mean(soft_adv / t_adv, adv, 1e-5), element_mean(soft_nat / t_nat, clean, 1e-5)
        p, q = (soft_adv / t_adv).softmax(1), (soft_nat / t_nat).softmax(1)
        h_adv, h_nat = (p * (p + 1e-5).log()).mean().item(), (q * (q + 1e-5).log()).mean().item()
        t_adv, t_nat = (
            min(max(t_adv - factor * 0.05 * math.copysign(1, h_adv / h_nat - 1), 1), 10),
            min(max(t_nat - factor * 0.05 * math.copysign(1, h_nat / h_adv - 1), 1), 10),
        )
        loss, wrong = L1 + L2, natural.argmax(1) != y
        errors.append(int(wrong.sum()))
        if wrong.any():
            P = element_mean(natural[wrong], adv[wrong] / 5, 1e-5)
            low = min(math.floor(math.log10(L1.item())), math.floor(math.log10(L2.item())))
            loss = loss - 10.0 ** (low - math.floor(math.log10(P.item()))) * P
        step(optimizer, loss, factor)
        done = (e - begin) / (EPOCHS - begin)
        of_teacher.param_groups[0]["lr"] = (
            0.02 * (0.5 + 0.5 * math.cos(math.pi * done)) * math.exp(-0.01 * done**2) if e > begin else 0.0
        )
        of_teacher.zero_grad()
        F.cross_entropy(t, y).backward()
        of_teacher.step()
    assert min(errors) > 0 and factors[-1] == 0
    same(student, S.state_dict())
    weights = {name: value.detach() for name, value in T.named_parameters()}
    assert_close({name: p.detach() for name, p in distiller.teachers["robust"].named_parameters()}, weights)
    assert any(not torch.equal(weights[name], p) for name, p in setting.teacher.named_parameters())
    assert method.state["temperatures"].tolist() == pytest.approx([t_adv, t_nat]) != [1.0, 1.0]


def test_ciard_without_an_error_of_the_clean_teacher_is_its_two_terms(setting):
    """Correction 1: without an error, the push loss and its gradient are absent."""
    setting.y = setting.clean(setting.images[0]).argmax(1)
    setting.images = setting.images[:1].expand(BATCHES, -1, -1, -1, -1)
    method = CIARD(scale=1 / K, temperature_rate=0.0, teacher_lr=0.0)
    tiny = 1e-6  # so that N is right at x' too
    student, _ = ours(setting, method, eps=tiny, size=tiny)

    S, T, N = (deepcopy(net) for net in (setting.student, setting.teacher, setting.clean))
    T.train()
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    for epoch, x, y, rng in steps(setting):
        S.train()
        clean = S(x)
        S.eval()
        x_adv = attack(x, x + 0.001 * rng.normal(x), lambda z, y=y: F.cross_entropy(S(z), y), tiny, tiny)
        S.train()
        assert torch.equal(N(x_adv).argmax(1), y)
        loss = element_mean(T(x_adv), S(x_adv), 1e-5) + element_mean(N(x), clean, 1e-5)
        step(optimizer, loss, RATES[epoch])
    same(student, S.state_dict())


def class_weights(kappa, exponent):
    """Class weights from each class's mean number of iterates that are still classified correctly."""
    weights = (1 / (kappa + 1e-5)) ** exponent
    return (weights * K / weights.sum()).clamp(5 / 6, 5 / 2)


def test_fair_mtard(setting):
    """Section 2.12 applied to 2.4, with correction 4; the clean branch learns from N, unlike the release."""
    method = FairMTARD(scale=1 / K, weight_rate=0.2)
    student, _ = ours(setting, method)

    S, T, N = (deepcopy(net) for net in (setting.student, setting.teacher, setting.clean))
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    w_nat, first, of_class, kappa, seen = 0.5, None, torch.ones(K).double(), torch.zeros(K).double(), 0
    for epoch, x, y, rng in steps(setting):
        correct = torch.zeros(B).double()

        def value(z, y=y, correct=correct):
            logits = S(z)
            correct += logits.argmax(1) == y
            return F.cross_entropy(logits, y)

        S.eval()
        x_adv = attack(x, x + 0.001 * rng.normal(x), value)
        S.train()
        kappa += torch.stack([correct[y == c].sum() for c in range(K)])

        def weighted(soft, logits, y=y, of_class=of_class):
            p = soft.softmax(1)
            per_element = p * ((p + 1e-5).log() - logits.log_softmax(1))
            return (of_class[y][:, None] * per_element).mean()

        L_adv, L_nat = weighted(T(x_adv), S(x_adv)), weighted(N(x), S(x))
        first = first or (L_adv.item(), L_nat.item())
        r_adv, r_nat = L_adv.item() / first[0], L_nat.item() / first[1]
        w_nat = w_nat - RATES[epoch] * 0.2 * (w_nat - r_nat / (r_nat + r_adv))
        step(optimizer, (1 - w_nat) * L_adv + w_nat * L_nat, RATES[epoch])
        seen += 1
        if seen % BATCHES == 0:
            of_class = class_weights(kappa / (BATCHES * B / K), 2.0)
            kappa = torch.zeros(K).double()
    assert of_class.min() < 1 < of_class.max()
    assert_close(method.state["class_weights"], of_class)
    assert method.state["weights"][1].item() == pytest.approx(w_nat)
    same(student, S.state_dict())


def test_iad2(setting):
    """Section 2.2, correction 5: the teacher's KL keeps its temperature after `begin`, the student's KL has none."""
    t, begin = 3.0, 2
    student, _ = ours(setting, IADII(temperature=t, begin=begin / EPOCHS))

    S, T, N = (deepcopy(net) for net in (setting.student, setting.teacher, setting.clean))
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    for epoch, x, y, rng in steps(setting):
        S.train()  # in the attack as well
        start = x + EPS * (2 * rng.uniform(x) - 1)
        x_adv = attack(x, start, lambda z, y=y: F.cross_entropy(S(z), y, reduction="sum"))
        adv, guide = S(x_adv), T(x_adv)
        robust = divergence(guide / t, adv / t)
        if epoch >= begin:
            a = guide.softmax(1)[range(B), y] ** 0.1
            robust = a * robust + (1 - a) * divergence(S(x), adv)
        loss = 0.25 * F.cross_entropy(adv, y) + 0.5 * t**2 * robust.mean()
        step(optimizer, loss + 0.25 * t**2 * divergence(N(x_adv) / t, adv / t).mean(), RATES[epoch])
    same(student, S.state_dict())


def untracked(network, track):
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.track_running_stats = track


def test_saad(setting):
    """Section 2.9 as in the paper, SAAD-C; weight averaging, correction 6, is in the recipe: tests/test_recipes.py."""
    student, _ = ours(setting, SAAD(gradient_weight=3.0, clean_weight=0.5))

    S, T = deepcopy(setting.student), deepcopy(setting.teacher)
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    for epoch, x, y, rng in steps(setting):
        S.eval()
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(T(leaf)[range(B), y].sum(), leaf)

        def value(z, x=x, y=y, slope=slope):
            linear = T(x) + F.one_hot(y, K) * (slope * (z - x)).flatten(1).sum(1)[:, None]
            return divergence(linear, S(z)).sum()

        x_adv = attack(x, x + 0.001 * rng.normal(x), value)
        S.train()
        adv = S(x_adv)
        untracked(S, False)  # the pass at x - d does not enter batch-norm's running statistics
        minus = S(x - (x_adv - x))
        untracked(S, True)
        clean = S(x)
        soft, soft_minus = T(x_adv), T(x - (x_adv - x))
        entropy = -(soft.softmax(1) * soft.log_softmax(1)).sum(1)
        change = divergence(soft - soft_minus, adv - minus)
        loss = entropy * (divergence(soft, adv) + 3.0 * (epoch + 1) / EPOCHS * change)
        loss = loss + 0.5 * (1 - entropy / math.log(K)) * divergence(T(x), clean)
        step(optimizer, loss.mean(), RATES[epoch])
    same(student, S.state_dict())


def test_fair_iad_with_labels(setting):
    """Section 2.12 on 2.2, correction 8: the label term is at x', from `begin` on, class-weighted like the others."""
    t, begin, alpha = 2.0, 2, 0.6
    method = FairIAD(distill_weight=alpha, temperature=t, begin=begin / EPOCHS, class_exponent=1.0)
    student, _ = ours(setting, method)

    S, T = deepcopy(setting.student), deepcopy(setting.teacher)
    optimizer = torch.optim.SGD(S.parameters(), **SGD)
    of_class, kappa, seen = torch.ones(K).double(), torch.zeros(K).double(), 0
    for epoch, x, y, rng in steps(setting):
        correct = torch.zeros(B).double()

        def value(z, y=y, correct=correct):
            logits = S(z)
            correct += logits.argmax(1) == y
            return F.cross_entropy(logits, y, reduction="sum")

        S.train()
        x_adv = attack(x, x + EPS * (2 * rng.uniform(x) - 1), value)
        kappa += torch.stack([correct[y == c].sum() for c in range(K)])
        adv = S(x_adv)
        losses = alpha * t**2 * divergence(T(x) / t, adv / t)
        if epoch >= begin:
            a = T(x_adv).softmax(1)[range(B), y] ** 0.1
            losses = losses + alpha * (1 - a) * divergence(S(x), adv)
            losses = losses + (1 - alpha) * F.cross_entropy(adv, y, reduction="none")
        step(optimizer, (of_class[y] * losses).mean(), RATES[epoch])
        seen += 1
        if seen % BATCHES == 0:
            of_class = class_weights(kappa / (BATCHES * B / K), 1.0)
            kappa = torch.zeros(K).double()
    assert_close(method.state["class_weights"], of_class)
    assert of_class.min() < 1 < of_class.max()
    same(student, S.state_dict())
