import itertools
import sys
from dataclasses import replace

import foolbox
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from advdistill import data, models
from advdistill.acceleration.frozen import Frozen
from advdistill.attacks import PGD
from advdistill.attacks.autoattack import AutoAttack
from advdistill.attacks.base import Attack
from advdistill.attacks.suites import Clean, PGDAttack, attacks
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.evaluation import SUITES, evaluate, networks, robust_curve
from advdistill.evaluation.context import Context
from advdistill.evaluation.networks import AttackedNetwork
from advdistill.losses import cross_entropy
from advdistill.threat import L2, Linf, show_pixels


class Line(nn.Module):
    """Two classes: z_1 - z_0 = 2 v - 1 for an image of two pixels v."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x.sum((1, 2, 3)) - 1], 1)


def pixels(*values):
    """Images of two equal pixels, all of class 1."""
    images = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 1, 2).contiguous()
    return Split(images, torch.ones(len(values), dtype=torch.int64), ("0", "1"), "pixels/test")


FIVE = pixels(102, 140, 150, 160, 204)  # v = 0.4, 0.549, 0.588, 0.627, 0.8: under attack correct where v > 0.5 + eps


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors this small wait for a second thread longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", "test")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    train = data.load("digits", "train")
    x, y = to_float(train.images), train.labels
    model = models.create("convnet-8", 10, 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(100):
        index = torch.arange(128) + 128 * step
        loss = cross_entropy(model(x[index % len(x)]), y[index % len(x)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(
    "eps, right", [(0, (4, 4, 4, 4, 4)), (0.1, (4, 2, 2, 2)), (0.06, (4, 3, 3, 3)), (0.4, (4, 0, 0, 0))]
)
def test_a_linear_model_by_hand(eps, right):
    suite = "paper" if eps == 0 else "quick,cw-30"
    result = evaluate(Line(), FIVE, Linf(eps), suite)
    assert tuple(m.correct for m in result.measurements) == right


def test_a_linear_model_by_hand_under_l2():
    # the margin 2 v - 1 falls by eps sqrt(2): correct where v > 0.5 + eps / sqrt(2)
    result = evaluate(Line(), FIVE, L2(0.1), "quick,cw-30")
    assert [m.correct for m in result.measurements] == [4, 3, 3, 3]


@pytest.mark.parametrize("threat", [Linf("8/255"), Linf(0.2), L2(0.5)], ids=str)
@pytest.mark.parametrize("name", ["fgsm", "pgd-20", "pgd-20-trades", "cw-30"])
def test_attacks_stay_inside_and_in_range(name, threat, net, digits):
    (attack,) = attacks(name, threat)
    x, y, model = to_float(digits.images[:32]), digits.labels[:32], net.eval()
    x_adv = attack.pgd(lambda x_adv: attack.loss(model(x_adv), y), x)
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6
    assert 0 <= x_adv.min() and x_adv.max() <= 1


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_pgd_20_agrees_with_foolbox(net, digits, eps):
    ours = evaluate(net, digits, Linf(eps), "pgd-20")["pgd-20"].accuracy
    pgd = foolbox.attacks.LinfPGD(abs_stepsize=eps / 4, steps=20, random_start=True)
    torch.manual_seed(0)
    wrapped = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")
    _, _, broken = pgd(wrapped, to_float(digits.images), digits.labels, epsilons=eps)
    assert 0.1 < ours < 0.9
    assert ours == pytest.approx(1 - broken.float().mean().item(), abs=0.01)


def test_the_literatures_settings():
    found = {a.name: a for a in attacks("full", Linf("8/255"))}
    assert found["clean"] == Clean() and found["autoattack"] == AutoAttack(Linf())
    settings = {name: a.pgd for name, a in found.items() if isinstance(a, PGDAttack)}
    assert settings["fgsm"] == PGD(1, 8 / 255, Linf(), "none")
    assert settings["pgd-20"] == PGD(20, "2/255", Linf(), "uniform")
    assert settings["pgd-20-trades"] == PGD(20, 0.003, Linf(), "uniform")
    assert settings["cw-30"] == PGD(30, "2/255", Linf(), "none")


@pytest.mark.parametrize("suite", SUITES)
def test_suites_parse(suite):
    assert tuple(a.name for a in attacks(suite, Linf())) == SUITES[suite]


def test_suites_and_attacks_join_with_commas():
    assert [a.name for a in attacks("quick, cw-30,pgd-20", Linf())] == ["clean", "fgsm", "pgd-20", "cw-30"]


def test_settings_are_printed_with_the_result():
    (cw,) = evaluate(Line(), FIVE, Linf(0.04), "cw-30").measurements
    assert cw.settings == "PGD-30, Linf 0.04, step 0.01, none start, cw_margin"


@pytest.mark.parametrize("native, precision", [(True, "bf16"), (False, "folded fp32")])
def test_every_accelerated_attack_says_where_it_searched(native, precision, net, digits, monkeypatch):
    monkeypatch.setattr(networks, "native_bf16", lambda device: native)
    plain, fast = (evaluate(net, digits, Linf(0), "full", n=1, accelerated=a) for a in (False, True))
    assert [m.attack for m in fast.measurements] == list(SUITES["full"])
    assert fast["clean"].settings == plain["clean"].settings == ""
    for m in plain.measurements[1:]:
        assert fast[m.attack].settings == f"{m.settings}, searched in {precision}, classified in fp32"
        assert "searched" not in m.settings


class Other(Line):
    """`Line` with another slope and shifted logits: an attacked copy that is wrong on purpose."""

    def __init__(self, slope, shift):
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, x):
        return self.slope * super().forward(x) + torch.tensor([0.0, self.shift])


@pytest.mark.parametrize(
    "searched, right",
    [
        (Other(1, 10), 3),  # calls every image right, has the gradient of the model itself
        (Other(1, -10), 3),  # calls every image wrong
        (Other(-1, 0), 4),  # calls four wrong and climbs away from the boundary: 0.4 + 0.06 is still wrong
    ],
)
def test_the_verdict_is_the_models_whatever_is_searched(searched, right):
    context = Context(Line(), FIVE, attacked=AttackedNetwork(searched))
    for attack in attacks("fgsm,pgd-20,cw-30", Linf(0.06)):
        assert context.correct(attack).sum() == right
    assert context.correct(Clean()).sum() == 4


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("threat", [Linf(0.08), L2(0.6)], ids=str)
def test_accelerated_accuracies_are_close(native, threat, net, digits, monkeypatch):
    # within 1 % of the images: the search's rounding turns a few signs, and only images at the boundary change sides
    monkeypatch.setattr(networks, "native_bf16", lambda device: native)
    plain, fast = (evaluate(net, digits, threat, "quick,cw-30", accelerated=a) for a in (False, True))
    assert fast["clean"].correct == plain["clean"].correct
    for m in plain.measurements[1:]:
        assert 0.1 < m.accuracy < 0.9
        assert fast[m.attack].accuracy == pytest.approx(m.accuracy, abs=0.01)


@pytest.mark.parametrize("threat", [Linf("8/255"), Linf(0.2), L2(0.5)], ids=str)
@pytest.mark.parametrize("name", ["fgsm", "pgd-20", "pgd-20-trades", "cw-30"])
def test_a_search_in_bf16_stays_inside_and_in_range(name, threat, net, digits):
    (attack,) = attacks(name, threat)
    x, y, searched = to_float(digits.images[:32]), digits.labels[:32], Frozen(net, torch.bfloat16)
    x_adv = attack.pgd(lambda x_adv: attack.loss(searched(x_adv), y), x)
    assert x_adv.dtype == torch.float32 and not torch.equal(x_adv, x)
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6
    assert 0 <= x_adv.min() and x_adv.max() <= 1


class Contrary(nn.Module):
    """An attacked copy with negated logits: it calls wrong images right, and its gradient has the wrong sign."""

    precision, made = "reverse", 0

    def __init__(self, network, dtype):
        super().__init__()
        self.network = network
        Contrary.made += 1

    def forward(self, x):
        return -self.network(x)


def test_every_accelerated_attack_searches_the_one_copy_that_is_made(net, digits, monkeypatch):
    monkeypatch.setattr(networks, "Frozen", Contrary)
    plain = evaluate(net, digits, Linf(0.08), "paper", n=100)
    assert Contrary.made == 0
    fast = evaluate(net, digits, Linf(0.08), "paper", n=100, accelerated=True)
    assert Contrary.made == 1
    assert all(m.correct < plain["clean"].correct for m in plain.measurements[1:])
    assert all(m.correct >= plain["clean"].correct for m in fast.measurements)


def test_the_result_says_what_was_measured(net, digits):
    lines = []
    result = evaluate(net, digits, suite="quick", n=50, seed=4, report=lines.append)
    assert (result.model, result.data, result.seed) == ("ConvNet", "digits/test", 4)
    assert (result.threat, result.fingerprint) == (f"Linf {show_pixels(8 / 255)}", digits.fingerprint())
    assert {m.n for m in result.measurements} == {50}
    assert {"advdistill", "torch"} <= result.versions.keys()
    assert [line.split(":")[0] for line in lines] == ["clean", "fgsm", "pgd-20"]


def test_the_model_stays_as_it_is(digits):
    model = models.create("convnet-8", 10, 1).train().bfloat16()
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, digits, suite="quick", n=20)
    assert model.training and not model.bn1.training
    assert all(p.dtype == torch.bfloat16 and p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_same_seed_same_result_whatever_was_drawn_before(net, digits):
    def counts(seed):
        result = evaluate(net, digits, Linf(0.08), "pgd-20,pgd-20-trades", n=200, seed=seed)
        return [m.correct for m in result.measurements]

    first = counts(0)
    torch.rand(5)
    state = torch.get_rng_state()
    assert counts(0) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_robust_accuracy_falls_with_eps(net, digits):
    curve = robust_curve(net, digits, [0, 0.05, "0.1", 0.3], n=100)
    assert list(curve) == [0, 0.05, 0.1, 0.3]
    correct = [m.correct for m in curve.values()]
    assert correct == sorted(correct, reverse=True) and correct[0] > 80 and correct[-1] < 10


class Returns(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(torch.zeros(len(x), 2) + x.mean())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda z: (z, z), r"must return logits \[B, K\], it returns a tuple"),
        (lambda z: z[:, 0], r"must return logits \[B, K\], it returns shape \[2\]"),
        (lambda z: z.repeat(1, 50), "The model gives 100 logits, the split has 2 classes"),
        (lambda z: z * float("nan"), "logits that are NaN or infinite"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Returns(change), FIVE, suite="quick")


def test_nan_that_appears_later_is_not_counted(blocks):
    blocks(1)
    later = Returns(lambda z: z.masked_fill(z > 0.7, float("nan")))
    with pytest.raises(ValueError, match="NaN or infinite"):
        evaluate(later, FIVE, suite="clean", batch_size=1)


def test_other_bad_input_is_named(net, digits):
    with pytest.raises(ValueError, match=r"cannot take images of shape \(1, 1, 2\) \(pixels/test\)"):
        evaluate(models.create("convnet-8", 2, 3), FIVE)
    with pytest.raises(ValueError, match="pixels/test has 5 images; the first 6 cannot be taken"):
        evaluate(Line(), FIVE, n=6)
    with pytest.raises(ValueError, match="Unknown suite or attack 'papers'. Did you mean 'paper'?"):
        evaluate(Line(), FIVE, suite="papers")


def test_two_classes_need_no_special_care():
    result = evaluate(Line(), FIVE, Linf(0.1), suite="full")
    assert result["autoattack"].settings == "AutoAttack for 2 classes (apgd-ce, fab-t, square), Linf 0.1"
    assert result["autoattack"].correct == result["pgd-20"].correct < result["clean"].correct


def test_one_image():
    assert evaluate(Line(), replace(FIVE, images=FIVE.images[4:], labels=FIVE.labels[4:])).measurements[0].correct == 1


class FGSM(Attack):
    """A user-defined attack."""

    name = "my-fgsm"

    def __init__(self, eps):
        self.eps = eps

    def describe(self, classes):
        return f"one step of {self.eps}"

    def __call__(self, model, x, y, *, rng):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
        return (x + self.eps * gradient.sign()).clamp(0, 1)


def test_an_attack_of_ones_own_is_measured_saved_and_resumed_like_ours(net, digits, tmp_path, blocks):
    blocks(100)
    lines, options = [], {"batch_size": 100, "keep": tmp_path / "v.safetensors", "keep_images": tmp_path / "images"}
    result = evaluate(net, digits, Linf(0.08), attacks=["clean", FGSM(0.08)], **options)
    x, y = to_float(digits.images), digits.labels
    right = net.eval()(FGSM(0.08)(net, x, y, rng=None)).argmax(1) == y
    verdicts = load_file(tmp_path / "v.safetensors")
    assert torch.equal(verdicts["my-fgsm"].bool(), right) and 0 < right.sum() < verdicts["clean"].sum()
    measured, ours = result["my-fgsm"], evaluate(net, digits, Linf(0.08), "fgsm")["fgsm"]
    assert (measured.correct, measured.settings) == (int(right.sum()), "one step of 0.08") and measured.n == ours.n
    assert measured.correct == ours.correct
    assert len(list((tmp_path / "images").glob("my-fgsm.*"))) == 6
    FGSM.__call__, called = lambda *rest, **more: lines.append("attacked"), FGSM.__call__
    try:
        assert evaluate(net, digits, Linf(0.08), attacks=["clean", FGSM(0.08)], **options)["my-fgsm"] == measured
    finally:
        FGSM.__call__ = called
    assert not lines
    with pytest.raises(ValueError, match=r"another kind \(attack my-fgsm differ\)"):
        evaluate(net, digits, Linf(0.08), attacks=["clean", FGSM(0.07)], **options)


def test_what_an_attack_of_ones_own_breaks_outside_the_threat_does_not_count(net, digits):
    result = evaluate(net, digits, Linf(0.01), attacks=["clean", FGSM(0.3)])
    assert result["my-fgsm"].correct == result["clean"].correct


def test_attacks_that_cannot_be_told_apart_are_refused(digits, net):
    for attacks_ in ([FGSM(0.1), FGSM(0.2)], [type("Named", (FGSM,), {"name": "pgd-20"})(0.1)]):
        with pytest.raises(ValueError, match="Attack name .* is invalid or already in use"):
            evaluate(net, digits, Linf(0.1), attacks=attacks_)
    with pytest.raises(ValueError, match="Attack name 'a/b' is invalid"):
        evaluate(net, digits, Linf(0.1), attacks=[type("Named", (FGSM,), {"name": "a/b"})(0.1)])
    with pytest.raises(TypeError, match="An attack is a name or an advdistill.attacks.base.Attack"):
        evaluate(net, digits, Linf(0.1), attacks=[lambda model, x, y: x])


def test_a_long_attack_says_how_far_it_is(monkeypatch, blocks):
    """The patched clock advances by 20 s at each reading."""
    blocks(2)
    clock, lines = itertools.count(0, 20), []
    monkeypatch.setattr(sys.modules["advdistill.evaluation.measure"].time, "monotonic", lambda: next(clock))
    evaluate(Line(), FIVE, Linf(0.1), "fgsm", batch_size=2, report=lines.append)
    first, second, last = lines
    assert first.startswith("fgsm: batch 1 of 3, about 0:0") and second.startswith("fgsm: batch 2 of 3, about 0:0")
    assert last.startswith("fgsm: 40.0% of 5 images, 60.0 s")  # 0.627 and 0.8 are above 0.5 + eps


@pytest.mark.parametrize(("shape", "device", "images"), [
    ((1, 8, 8), "cpu", 512), ((1, 28, 28), "cpu", 83), ((3, 32, 32), "cpu", 64), ((3, 64, 64), "cpu", 64),
    ((3, 224, 224), "cpu", 8),
    ((1, 8, 8), "cuda", 512), ((3, 32, 32), "cuda", 256), ((3, 64, 64), "cuda:1", 64), ((3, 224, 224), "cuda", 8),
])  # fmt: skip
def test_a_block_is_a_function_of_the_images_size_and_the_device(shape, device, images):
    split = data.Split(torch.zeros(2, *shape, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"), "made/test")
    for size in (1, 7, 64, 1000):
        assert Context(torch.nn.Identity(), split, batch_size=size, device=device).block == images
