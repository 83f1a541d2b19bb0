"""An inspection's figures equal those of the single functions; its pictures are the attack's x'."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import linear
from torch import nn

from advdistill._internal.rng import ImageRng
from advdistill.attacks import PGD
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.evaluation import gradient_alignment, robust_curve
from advdistill.evaluation.gradients import linearity_remainder, pointwise_distance
from advdistill.evaluation.inspection import inspect
from advdistill.evaluation.metrics import calibration_error
from advdistill.losses import cross_entropy
from advdistill.models.digest import digest
from advdistill.report.pictures import draw_gallery
from advdistill.results.inspection import Inspection
from advdistill.threat import L2, Linf

WHERE = {"batch_size": 16}


def made(classes: int = 3, absent: tuple[int, ...] = (), n: int = 40) -> Split:
    """Noise images, brighter in the row of their class; an absent class has a name but no image."""
    rng = torch.Generator().manual_seed(classes)
    present = torch.tensor([label for label in range(classes) if label not in absent])
    labels = present[torch.randint(len(present), (n,), generator=rng)]
    images = torch.randint(0, 206, (n, 1, 4, 4), generator=rng)
    images[range(n), 0, labels % 4] += 50
    return Split(images.to(torch.uint8), labels, tuple("abcdefghijkl"[:classes]), "made")


class Bent(nn.Module):
    """A network whose logits are not linear in x."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x):
        return 10 * torch.tanh(self.network(x) / 10)


def networks(split: Split) -> tuple[nn.Module, nn.Module]:
    x, y = to_float(split.images), split.labels
    return linear(x, y, split.num_classes), Bent(linear(x[::2], y[::2], split.num_classes))


def crafted(network, split, threat, seed):
    """x' of pgd-20, batch by batch."""
    x_adv = []
    for start in range(0, len(split), 16):
        x, y = to_float(split.images[start : start + 16]), split.labels[start : start + 16]
        attack = PGD(20, threat.eps / 4, threat, "uniform")
        rng = ImageRng(seed, "attack", places=range(start, start + len(x)))
        x_adv.append(attack(lambda z, y=y: cross_entropy(network(z), y), x, rng))
    return torch.cat(x_adv)


def counted(right, labels, classes):
    return [(int((labels == c).sum()), int((right & (labels == c)).sum())) for c in range(classes)]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("threat", [Linf(0.06), L2(0.2)], ids=str)
def test_every_figure_is_that_of_its_own_function(classes, threat):
    split = made(classes)
    student, teacher = networks(split)
    found = inspect(student, split, threat, teacher=teacher, n=30, seed=3, **WHERE)
    used = split.first(30)
    assert (found.weights, found.data, found.fingerprint) == (digest(student), "made", split.fingerprint())
    assert (found.threat, found.eps, found.n, found.seed) == (str(threat), threat.eps, 30, 3)
    assert found.attack.startswith("PGD-20, ") and found.class_names == split.classes
    for name, network in {"student": student, "teacher": teacher}.items():
        seen, radii = found.networks[name], [k * threat.eps for k in (0, 0.5, 1, 1.5, 2, 3, 4)]
        curve = robust_curve(network, used, radii, type(threat), seed=3, **WHERE)
        assert list(seen.curve) == radii
        plain = {"seconds": 0, "no_gradient": None}  # at eps 0 nothing is attacked
        assert [replace(m, **plain) for m in seen.curve.values()] == [replace(m, **plain) for m in curve.values()]
        assert seen.curve[threat.eps].no_gradient == curve[threat.eps].no_gradient
        logits = {"clean": network(to_float(used.images)), "pgd-20": network(crafted(network, used, threat, 3))}
        right = {attack: z.argmax(1) == used.labels for attack, z in logits.items()}
        assert 0 < right["pgd-20"].sum() < right["clean"].sum()
        assert seen.classes == {attack: counted(flags, used.labels, classes) for attack, flags in right.items()}
        assert seen.calibration == pytest.approx({a: calibration_error(z, used.labels) for a, z in logits.items()})
        assert seen.remainder == linearity_remainder(network, used, threat, seed=3, **WHERE)
    alignment = gradient_alignment(student, teacher, used, **WHERE)
    assert found.alignment == {name: (one.cosine, one.distance) for name, one in alignment.items()}
    assert found.distances == pointwise_distance(student, teacher, used, threat, seed=3, **WHERE)


def test_a_picture_is_the_first_image_of_its_class_and_what_each_network_makes_of_it():
    split, threat = made(3), Linf(0.1)
    both = dict(zip(("student", "teacher"), networks(split), strict=True))
    found = inspect(both["student"], split, threat, teacher=both["teacher"], seed=1, **WHERE)
    x_adv = {name: crafted(network, split, threat, 1) for name, network in both.items()}
    assert [example.label for example in found.examples] == ["a", "b", "c"]
    for label, example in enumerate(found.examples):
        i = split.labels.tolist().index(label)
        assert np.array_equal(example.clean, to_float(split.images[i]).numpy())
        for name, network in both.items():
            prediction, x = example.predictions[name], to_float(split.images[i : i + 1]).requires_grad_()
            assert np.array_equal(prediction.x_adv, x_adv[name][i].numpy())
            assert prediction.before == split.classes[network(x).argmax()]
            assert prediction.after == split.classes[network(x_adv[name][i : i + 1]).argmax()]
            (gradient,) = torch.autograd.grad(cross_entropy(network(x), split.labels[i : i + 1]).sum(), x)
            np.testing.assert_allclose(prediction.gradient, gradient[0].numpy(), rtol=1e-4, atol=1e-6)
    shown = [prediction for example in found.examples for prediction in example.predictions.values()]
    assert {prediction.before != prediction.after for prediction in shown} == {True, False}


def test_ten_pictures_at_most_and_none_of_an_absent_class():
    split = made(12, absent=(0, 4), n=200)
    student, _ = networks(split)
    found = inspect(student, split, Linf(0.02), n=200)
    assert [example.label for example in found.examples] == list("bcdfghijkl")
    classes = found.networks["student"].classes["pgd-20"]
    assert classes[0] == classes[4] == (0, 0) and sum(n for n, _ in classes) == 200
    whole = made(12, n=200)
    assert [e.label for e in inspect(student, whole, Linf(0.02)).examples] == list("abcdefghij")


def test_classes_of_one_name_are_told_apart():
    split = made(3)
    twins = Split(split.images, split.labels, ("crane", "crane", "c"), "twins")
    student, _ = networks(split)
    first, second = (inspect(student, s, Linf(0.02)).networks["student"].classes for s in (split, twins))
    assert first == second and len(second["clean"]) == 3


def test_without_a_teacher_there_is_nothing_to_compare():
    split = made()
    found = inspect(networks(split)[0], split, Linf(0.1))
    assert set(found.networks) == {"student"} and found.alignment == found.distances == {}
    assert all(set(example.predictions) == {"student"} for example in found.examples)
    assert found.n == 40  # all there are; 200 were asked for


def test_the_seed_decides_and_the_models_stay_as_they_are(tmp_path):
    split = made()
    student, teacher = (network.train().requires_grad_() for network in networks(split))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (
        inspect(student, split, Linf(0.1), teacher=teacher, seed=seed, **WHERE) for seed in (0, 0, 3)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert student.training and all(p.requires_grad and p.grad is None for p in student.parameters())
    pictures = [
        [prediction.x_adv for e in found.examples for prediction in e.predictions.values()]
        for found in (first, again, other)
    ]
    # seed 3, because with seed 1 these six pictures end in the same corners of the ball as with seed 0
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])
    assert first.distances == again.distances != other.distances
    first.save(tmp_path / "inspection.safetensors")
    assert Inspection.load(tmp_path / "inspection.safetensors").networks == first.networks


def test_at_eps_0_there_is_one_point_and_nothing_moves(tmp_path):
    split = made()
    found = inspect(networks(split)[0], split, Linf(0))
    (network,) = found.networks.values()
    assert list(network.curve) == [0] and network.remainder == 0
    assert network.classes["clean"] == network.classes["pgd-20"]
    assert all(np.array_equal(example.predictions["student"].x_adv, example.clean) for example in found.examples)
    with np.errstate(all="raise"):  # a perturbation is drawn in units of eps
        draw_gallery(found.examples, 0, tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").stat().st_size


def test_the_curve_ends_where_the_threat_does():
    split = made()
    (network,) = inspect(networks(split)[0], split, Linf(0.5)).networks.values()
    assert list(network.curve) == [0, 0.25, 0.5, 0.75, 1]


def test_nothing_is_attacked_twice(monkeypatch):
    calls, real = [], PGD.__call__
    monkeypatch.setattr(PGD, "__call__", lambda self, *rest: calls.append(self.threat.eps) or real(self, *rest))
    split, lines = made(), []
    student, teacher = networks(split)
    inspect(student, split, Linf(0.1), report=lines.append)
    assert sorted(calls) == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
    assert len(lines) == 7 and all(line.startswith("student: eps ") for line in lines)
    calls.clear()
    inspect(student, split, Linf(0))
    assert calls == [0]
    calls.clear()
    inspect(student, split, Linf(0.1), teacher=teacher)
    assert len(calls) == 6 + 6


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Distances(nn.Module):
    """Logits by torch.cdist, which has no forward derivative; or rounded by a function that torch.func refuses."""

    def __init__(self, rounded: bool):
        super().__init__()
        self.centres, self.rounded = nn.Parameter(torch.eye(3, 16)), rounded

    def forward(self, x):
        if self.rounded:
            return Rounded.apply(x).flatten(1) @ self.centres.T
        return -torch.cdist(x.flatten(1), self.centres)


@pytest.mark.parametrize(("rounded", "named"), [(False, "_euclidean_dist"), (True, "autograd.Function")])
def test_a_network_without_forward_derivative_has_no_remainder(rounded, named):
    lines = []
    found = inspect(Distances(rounded), made(), Linf(0.1), report=lines.append)
    assert found.networks["student"].remainder is None
    (said,) = [line for line in lines if "no remainder" in line]
    assert named in said


def test_what_does_not_fit_is_refused_before_any_attack():
    lines, split = [], made()
    with pytest.raises(ValueError, match="2 logits, the split has 3 classes"):
        inspect(networks(split)[0], split, Linf(0.1), teacher=networks(made(2))[0], report=lines.append)
    with pytest.raises(ValueError, match="made has 40 images; the first 0 cannot be taken"):
        inspect(networks(split)[0], split, Linf(0.1), n=0, report=lines.append)
    assert not lines
