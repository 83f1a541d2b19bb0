"""Tests particular to single methods: golden values, gradients, mistakes. `test_every_method.py` has common tests."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from advdistill.data.augment import Augment
from advdistill.data.mixing import mixed
from advdistill.distiller import Distiller
from advdistill.losses import cross_entropy, kl
from advdistill.methods import (
    AKD2,
    ARD,
    BMTARD,
    CIARD,
    DGAD,
    IAD,
    IADII,
    IGDM,
    MART,
    MTARD,
    PGDAT,
    RSLAD,
    SAAD,
    TRADES,
    AdaAD,
    AdaIAD,
    Batch,
    FairRSLAD,
    Method,
    PeerAiD,
    Sum,
    Term,
    build,
    from_config,
)  # fmt: skip
from advdistill.methods.cost import passes


def golden(table):
    """Return a network that gives the logits of methods.md, section 5; the value of an image names the point."""
    points = {0.0: "x", 1.0: "x_adv", -1.0: "x_minus"}
    tensors = {point: torch.tensor(rows, dtype=torch.float64) for point, rows in table.items()}
    return lambda images: tensors[points[images.flatten()[0].item()]]


STUDENT = golden({
    "x_adv": [[1, 0.5, -0.5, 0], [0.2, 1.2, 0, -1]],
    "x": [[2, 0.3, -1, 0.1], [0.1, 2.2, -0.4, -0.9]],
    "x_minus": [[1.6, 0.1, -0.9, 0.3], [0.3, 1.9, -0.5, -0.6]],
})  # fmt: skip
TEACHER = golden({
    "x_adv": [[2, 0.2, -0.8, 0.6], [0.6, 1.4, 1.6, -1]],
    "x": [[3, 0, -1, 0.5], [0.5, 1, 2.5, -2]],
    "x_minus": [[3.2, -0.4, -1.1, 0.2], [0.1, 0.9, 2.7, -1.9]],
})  # fmt: skip
NATURAL = golden({"x_adv": [[6, 0, -2, -1], [-1, 7, 1, -3]], "x": [[6, 0, -2, -1], [-1, 7, 1, -3]]})
TEACHERS = {"robust": TEACHER, "clean": NATURAL}
ELEMENT_MEAN = 1 / 4  # of four classes


@pytest.mark.parametrize(("method", "progress", "expected"), [
    (RSLAD(scale=ELEMENT_MEAN), 1, 0.1555681999),
    (RSLAD(scale=10 * ELEMENT_MEAN), 1, 1.5556819993),
    (ARD(scale=ELEMENT_MEAN), 1, 0.1735153484),
    (ARD(), 1, 0.6940613937),
    (ARD(temperature=1), 1, 0.5843582769),
    # methods.md prints 0.0424567790 and 0.1698271675, which contradict each other; this is the KL to 40 digits (mpmath)
    (AdaAD(scale=ELEMENT_MEAN), 1, 0.0424567868984),
    (AdaAD(), 1, 0.1698271475935),
    (ARD(temperature=1) + IGDM(weight=1), 1, 0.5843582769 + 0.2511139061),
    (ARD(temperature=1) + IGDM(weight=100), 50 / 200, 6.8622059285),
    (MTARD(scale=ELEMENT_MEAN), 1, 0.0528581476370),
    (TRADES(), 1, 1.1366236638),
    (MART(robust_weight=0), 1, 0.9590637168),
    (MART(robust_weight=1), 1, 0.9590637168 + 0.0344024055),
    (MART(), 1, 1.1310757444),
    (IAD(), 60 / 200, 0.5843582769),
    (IAD(), 61 / 200, 0.5938029232),
    (AKD2(), 1, 0.4205918601),
    (IADII(), 40 / 200, 0.4205918601),
    (IADII(), 41 / 200, 0.4190713951),
    (DGAD(), 1, 0.1297463204),
    (DGAD(consistency_weight=0), 1, 0.1297463204 - 0.0230220400),
    (AdaIAD(), 60 / 200, 0.1787963915),
    (AdaIAD(), 61 / 200, 0.1882410378),
])  # fmt: skip
def test_golden_vectors(method, progress, expected):
    x = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    batch = Batch(x, torch.tensor([0, 1]), STUDENT, TEACHERS, progress, torch.ones_like(x))
    loss = sum(loss.mean() for loss in method.outer(batch).values()).item()
    assert loss == pytest.approx(expected, abs=1e-9)


def test_mtards_weights_follow_the_golden_path():
    method, path = MTARD(), []
    for adv, nat in [(0.10, 0.20), (0.09, 0.12), (0.095, 0.08)]:
        losses = torch.tensor([adv, nat], dtype=torch.float64)
        w_adv, w_nat = method.weigh(losses, rate=1.0).tolist()
        path += [w_nat, w_adv, w_adv * adv + w_nat * nat]
    golden_path = [0.5, 0.5, 0.15, 0.4975, 0.5025, 0.104925, 0.4924699074, 0.5075300926, 0.0876129514]
    assert path == pytest.approx(golden_path, abs=1e-10)


def test_b_mtards_temperatures_and_weights_follow_the_golden_path():
    method, path = BMTARD(scale=ELEMENT_MEAN), []
    for _ in range(3):
        x = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
        named = method.outer(Batch(x, torch.tensor([0, 1]), STUDENT, TEACHERS, x_adv=torch.ones_like(x)))
        (w_adv, w_nat), temperatures = method.state["weights"].tolist(), method.state["temperatures"].tolist()
        adv, nat = (named[name].mean().item() for name in ("adv", "clean"))
        path.append([adv / w_adv, nat / w_nat, *temperatures, w_adv, w_nat, adv + nat])
    assert path == [pytest.approx(row, abs=6e-7) for row in [
        [0.042467, 0.063250, 1.0, 1.001, 0.5, 0.5, 0.052858],
        [0.042467, 0.063227, 1.0, 1.002, 0.500002, 0.499998, 0.052847],
        [0.042467, 0.063205, 1.0, 1.003, 0.500007, 0.499993, 0.052836],
    ]]  # fmt: skip


def test_a_methods_rates_follow_the_schedule():
    slow, fast, losses = MTARD(), MTARD(), torch.tensor([0.1, 0.2])
    for method in (slow, fast):
        method.weigh(losses, 1.0)
    later = torch.tensor([0.1, 0.1])
    moved = [0.5 - method.weigh(later, rate)[1].item() for method, rate in ((slow, 0.1), (fast, 1.0))]
    assert moved[1] == pytest.approx(10 * moved[0], rel=1e-3)


def test_adaads_attack_gradient_flows_through_the_teacher(tiny, batch):
    student, teacher, (x, y) = tiny(0), tiny(1), batch
    inner = AdaAD().inner(Batch(x, y, student, {"robust": teacher.requires_grad_(False)}))

    def gradient(objective):
        leaf = (x + 0.05).requires_grad_()
        return torch.autograd.grad(objective(leaf).sum(), leaf)[0]

    assert_close(gradient(inner), gradient(lambda leaf: kl(teacher(leaf), student(leaf))))
    detached = gradient(lambda leaf: kl(teacher(leaf).detach(), student(leaf)))
    assert torch.cosine_similarity(gradient(inner).flatten(), detached.flatten(), dim=0) < 0.99


def test_saads_teacher_is_linear_along_the_true_label(tiny, batch):
    student, teacher, (x, y) = tiny(0), tiny(1).requires_grad_(False), batch
    true_logit = torch.func.grad(lambda image, label: teacher(image[None])[0].gather(0, label[None])[0])
    slope = torch.func.vmap(true_logit)(x, y)
    x_adv = x + 0.03 * slope.sign()
    linear = teacher(x).clone()
    linear[torch.arange(6), y] += (slope * (x_adv - x)).flatten(1).sum(1)
    with torch.no_grad():  # as the Distiller calls it
        objective = SAAD().inner(Batch(x, y, student, {"robust": teacher}))
    assert_close(objective(x_adv), kl(linear, student(x_adv)))


def test_saads_weights():
    logits = torch.tensor([[0.0, 0.0], [0.0, 100.0], [0.0, 1.0986123]])  # entropies: log 2, 0, 0.5623
    weight, share = SAAD().weights(logits)
    assert_close(weight, torch.tensor([0.693147, 0.0, 0.562335]), rtol=1e-5, atol=1e-6)
    assert_close(share, weight / 0.693147, rtol=1e-5, atol=1e-6)
    weight, share = SAAD(batch_relative=True).weights(logits)
    assert_close(weight, 5 * torch.tensor([0.693147, 0.0, 0.562335]), rtol=1e-5, atol=1e-6)


def test_trades_clean_side_is_not_detached(tiny, batch):
    student, (x, y) = tiny(0), batch
    clean, adv = student(x).detach(), student(x + 0.1).detach()
    clean.requires_grad_()
    network = {id(x): clean}.get
    shifted = x + 0.1
    named = TRADES().outer(Batch(x, y, lambda images: network(id(images), adv), {}, 1.0, shifted))
    assert torch.autograd.grad(named["robust"].sum(), clean)[0].abs().sum() > 1e-3


def test_networks_run_once_per_image_tensor(tiny, batch):
    calls, student, (x, y) = [], tiny(0), batch

    def counted(images):
        calls.append(images)
        return student(images)

    (AdaAD(adv_weight=0.5) + IGDM()).outer(Batch(x, y, counted, {"robust": tiny(1)}, 1.0, x + 0.01))
    assert len(calls) == 3  # x', x and x - d


def test_igdm_takes_both_points_from_the_same_d_and_grows_with_progress(tiny, batch):
    student, teacher, (x, y) = tiny(0), tiny(1), batch
    x_adv = x + 0.3

    def term(progress=1.0, **options):
        return IGDM(**options).outer(Batch(x, y, student, {"robust": teacher}, progress, x_adv))["gradient"]

    assert_close(term(0.25, weight=8.0), term(0.5, weight=4.0))
    assert_close(term(plus=1.0, minus=0.0), term(plus=1.0 + 1e-7, minus=0.0), rtol=1e-3, atol=1e-6)
    # x - d leaves [0, 1] and is not clipped
    expected = kl(teacher(x + 0.3) - teacher(x - 0.3), student(x + 0.3) - student(x - 0.3))
    assert_close(term(), expected, rtol=1e-4, atol=1e-6)


def test_coefficients_survive():
    method = AdaAD(adv_weight=0.9) + IGDM(weight=5)
    assert from_config({"adaad": {"adv_weight": 0.9}, "igdm": {"weight": 5}}) == method
    assert isinstance(method, Sum) and method.teachers == ("robust",) and (PGDAT() + IGDM()).teachers == ("robust",)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_advfunmatch_is_adaad_and_asks_both_networks_at_the_same_image(tiny, batch, mixup):
    student, teacher, (x, y) = tiny(0), tiny(1).requires_grad_(False), batch
    targets = y
    if mixup:
        x, targets = mixed(x, y, 4, Augment(mixup=mixup), (0, 0, 0))
        assert not torch.equal(x, batch[0]) and (targets > 0).sum() > len(y)
    method, seen = AdaAD(), {"student": [], "teacher": []}

    def recorded(name, network):
        return lambda images: seen[name].append(images) or network(images)

    def by_hand(images):  # sum_k T_k (log T_k - log S_k)
        soft, own = teacher(images).exp(), student(images).exp()
        p, q = soft / soft.sum(1, keepdim=True), own / own.sum(1, keepdim=True)
        return (p * (p.log() - q.log())).sum(1)

    made = Batch(x, y, recorded("student", student), {"robust": recorded("teacher", teacher)}, targets=targets)
    leaf = (x + 0.05).requires_grad_()
    found = [method.inner(made)(leaf), by_hand(leaf)]
    assert_close(*found)
    assert_close(*(torch.autograd.grad(value.sum(), leaf)[0] for value in found))
    made = made.attacked(leaf.detach(), made.student)
    losses = method.outer(made)
    assert losses.keys() == {"adv"}
    assert_close(losses["adv"], by_hand(made.x_adv))
    for images in seen.values():  # at x' of the attack and of the loss, never at x
        assert len(images) == 2 and images[0] is leaf and images[1] is made.x_adv


@pytest.mark.parametrize(("action", "message"), [
    (lambda: RSLAD() + AdaAD(), "RSLAD and AdaAD each choose their own adversarial examples; add a Term such as IGDM"),
    (lambda: build("rslad+adaad"), "each choose their own adversarial examples"),
    (lambda: build("igdm"), r"'igdm' is a term; add it to a method, e.g. 'adaad\+igdm'"),
    (lambda: build("rslda"), "Unknown method 'rslda'. Did you mean 'rslad'\\? Known: absld, adaad, adagat, adaiad,"),
    (lambda: build("nowhere:Mine"), "Cannot import 'nowhere'"),
    (lambda: build("advdistill.methods:Unfindable"), "Unknown name in 'advdistill.methods' 'Unfindable'"),
    (lambda: build("pathlib:Path"), "must be a dataclass derived from advdistill.Method"),
    (lambda: from_config({"rslad": {"adv_wait": 1}}), "of rslad 'adv_wait'. Did you mean 'adv_weight'"),
    (lambda: (AdaAD() + IGDM() + IGDM()).outer(_batch()), "Sum and IGDM both have a loss called 'gradient'; take one"),
    (lambda: (SAAD() + IGDM()).outer(_batch()), "SAAD and IGDM both have a loss called 'gradient'; take one"),
    (lambda: AKD2(robust_weight=0.8, clean_weight=0.3), "of AKD2 leave the label a negative weight; their sum"),
    (lambda: ARD(temperature=0), "temperature of ARD must be a finite number above 0, got 0"),
    (lambda: CIARD(push_temperature=0.0), "push_temperature of CIARD must be a finite number above 0, got 0.0"),
    (lambda: FairRSLAD(class_exponent=-1), "class_exponent of FairRSLAD must be a finite number of at least 0, got -1"),
])  # fmt: skip
def test_mistakes_are_explained(action, message):
    with pytest.raises((ValueError, TypeError), match=message):
        action()


def _batch():
    x = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    return Batch(x, torch.tensor([0, 1]), STUDENT, {"robust": TEACHER}, 1.0, torch.ones_like(x))


def test_an_own_term_joins_any_method(tiny, batch):
    @dataclass
    class Small(Term):
        weight: float = 0.1
        teachers = ()

        def outer(self, batch):
            return {"small": self.weight * batch.student(batch.x).square().sum(1)}

    loss = Distiller(PGDAT() + Small())(tiny(), *batch)
    assert loss.isfinite()


@pytest.mark.parametrize(("name", "expected"), [
    ("standard", {"student": 1}),
    ("pgd_at", {"student": 11}),
    ("trades", {"student": 13}),
    ("rslad", {"student": 12, "robust": 1}),
    ("adaad", {"student": 11, "robust": 11}),
    ("adaad+igdm", {"student": 12, "robust": 12}),
    ("bmtard", {"student": 12, "robust": 1, "clean": 1}),
])  # fmt: skip
def test_forward_passes_of_a_step(name, expected):
    assert passes(build(name)) == expected


@pytest.mark.parametrize(("method", "name", "attacked"), [
    (ARD(distill_weight=0.75), "clean", False),
    (IAD(distill_weight=0.75), "clean", False),
    (PeerAiD(label_weight=0.25), "label", True),
])  # fmt: skip
def test_the_share_of_the_labels_is_a_quarter_of_the_cross_entropy(method, name, attacked, tiny, batch):
    (x, y), student = batch, tiny(0)
    x_adv = (x + 0.1).clamp(0, 1)
    losses = method.outer(Batch(x, y, student, {"robust": tiny(1), "peer": tiny(2)}, 0.0, x_adv))
    assert_close(losses[name], 0.25 * cross_entropy(student(x_adv if attacked else x), y))


def test_saads_clean_loss_is_the_share_that_its_weights_leave(tiny, batch):
    (x, y), student, teacher = batch, tiny(0), tiny(1)
    x_adv, method = (x + 0.1).clamp(0, 1), SAAD(clean_weight=0.5)
    share = method.weights(teacher(x_adv))[1]
    losses = method.outer(Batch(x, y, student, {"robust": teacher}, 1.0, x_adv))
    without = SAAD(clean_weight=0.0).outer(Batch(x, y, student, {"robust": teacher}, 1.0, x_adv))
    assert "clean" not in without
    assert_close(losses["clean"], 0.5 * (1 - share) * kl(teacher(x), student(x)))


def test_a_method_without_its_equations_says_which_is_missing(batch):
    made = Batch(*batch, lambda x: x, {})
    with pytest.raises(NotImplementedError, match=r"Method has no inner\(\)"):
        Method().inner(made)
    with pytest.raises(NotImplementedError, match=r"Method has no outer\(\)"):
        Method().outer(made)
