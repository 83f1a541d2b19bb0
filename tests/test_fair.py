"""Tests of methods with a weight or temperature for each class: how it is computed, updated and used."""

import math

import pytest
import torch
from torch.testing import assert_close

from advdistill import Distiller
from advdistill.losses import kl
from advdistill.methods import ABSLD, RSLAD, Batch, FairARD, FairIAD, FairMTARD, FairRSLAD

FAIR = [FairARD(), FairIAD(), FairRSLAD(), FairMTARD()]


def by_brightness(x):
    """Return two logits that predict class 0 if the image is brighter than 0.5."""
    brightness = x.flatten(1).mean(1)
    return torch.stack([brightness - 0.5, 0.5 - brightness], 1)


def step(method, brightness, labels, attack):
    """Return the losses of one step on images of one pixel; `attack` lists the iterates' brightnesses."""
    x, y = torch.tensor(brightness).view(-1, 1, 1, 1), torch.tensor(labels)
    batch = Batch(x, y, by_brightness, dict.fromkeys(("robust", "clean"), by_brightness))
    objective = method.inner(batch)
    for iterate in attack:
        objective(torch.tensor(iterate).view(-1, 1, 1, 1).requires_grad_())
    return method.outer(batch.attacked(torch.tensor(attack[-1]).view(-1, 1, 1, 1), by_brightness))


@pytest.mark.parametrize("method", FAIR, ids=lambda method: type(method).__name__)
def test_classes_that_fall_early_in_the_attack_weigh_more(method):
    # class 0 survives 3 and 1 of 3 iterates, in the next batch 2: mean 2; class 1 survives 0: the weights are clipped
    step(method, [0.9, 0.6, 0.1], [0, 0, 1], [[0.9, 0.6, 0.6], [0.8, 0.4, 0.7], [0.7, 0.3, 0.8]])
    plain = step(method, [0.9], [0], [[0.9], [0.6], [0.4]])
    method.end_epoch(1.0)
    assert_close(method.state["class_weights"], torch.tensor([5 / 6, 2.0]))  # class 1 has all of the sum 2
    assert "sums" not in method.state
    if isinstance(method, FairMTARD):
        method.weight_rate = 0.0
    weighted = step(method, [0.9], [0], [[0.9], [0.6], [0.4]])
    for name in plain:
        assert_close(weighted[name], 5 / 6 * plain[name])


def test_the_weights_by_hand():
    method = FairRSLAD(class_exponent=0.5)
    # kappa: class 0 has 4 and 3, class 1 has 2
    attack = [[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.9, 0.9, 0.9], [0.9, 0.1, 0.9]]
    step(method, [0.9, 0.9, 0.1], [0, 0, 1], attack)
    method.end_epoch(1.0)
    raw = [1 / math.sqrt(3.5 + 1e-5), 1 / math.sqrt(2 + 1e-5)]
    expected = torch.tensor([max(5 / 6, 2 * r / sum(raw)) for r in raw])
    assert_close(method.state["class_weights"], expected)
    assert 5 / 6 < expected[0] < 1 < expected[1]


def test_the_first_epoch_weighs_all_classes_alike(tiny, batch):
    x_adv = batch[0] + 0.05
    fair, plain = FairRSLAD(), RSLAD()
    both = []
    for method in (fair, plain):
        made = Batch(*batch, tiny(0), {"robust": tiny(1)})
        method.inner(made)
        both.append(method.outer(made.attacked(x_adv, tiny(0))))
    assert both[0].keys() == both[1].keys() and all(torch.equal(both[0][name], both[1][name]) for name in both[0])


@pytest.mark.parametrize("method", [FairRSLAD(), ABSLD()])
def test_a_class_without_images_is_named(method, tiny, batch):
    x, y = batch
    Distiller(method, tiny(1))(tiny(0), x[:3], y[:3])  # three of the four classes
    with pytest.raises(ValueError, match="images of every class in every epoch; class 3 had none"):
        method.end_epoch(1.0)


def test_abslds_temperatures_move_by_the_class_errors_of_the_epoch(tiny, batch):
    (x, y), student, teacher, method = batch, tiny(0).double(), tiny(1).double(), ABSLD(temperature_rate=0.2)
    x, x_adv = x.double(), (x + 0.1).double()
    # two steps of four and two images
    for part in (slice(0, 4), slice(4, 6)):
        method.outer(Batch(x[part], y[part], student, {"robust": teacher}, x_adv=x_adv[part]))
    method.end_epoch(rate=0.5)

    for column, images in enumerate((x_adv, x)):
        errors = -student(images).log_softmax(1)[range(6), y]
        means = torch.stack([errors[y == c].mean() for c in range(4)])
        gaps = means - means.mean()
        expected = 1 - 0.5 * 0.2 * gaps / gaps.abs().max()
        assert_close(method.state["temperatures"][:, column], expected.detach())

    adv, nat = method.state["temperatures"][y].unbind(1)
    named = method.outer(Batch(x, y, student, {"robust": teacher}, x_adv=x_adv))
    assert_close(named["adv"], 5 / 6 * kl(teacher(x) / adv[:, None], student(x_adv), offset=1e-5))
    assert_close(named["clean"], 1 / 6 * kl(teacher(x) / nat[:, None], student(x), offset=1e-5))
    climbed = method.inner(Batch(x, y, student, {"robust": teacher}))(x_adv)
    assert_close(climbed, kl(teacher(x) / adv[:, None], student(x_adv)))


def test_abslds_temperatures_stay_between_a_half_and_five(tiny, batch):
    method = ABSLD(temperature_rate=3.0)
    for _ in range(3):
        method.outer(Batch(*batch, tiny(0), {"robust": tiny(1)}, x_adv=batch[0] + 0.1))
        method.end_epoch(1.0)
    temperatures = method.state["temperatures"]
    assert temperatures.min() == 0.5 and temperatures.max() <= 5
