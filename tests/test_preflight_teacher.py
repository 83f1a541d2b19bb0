"""Tests that a wrongly loaded teacher is detected and that its mistake is named."""

import pytest
import torch
from torch import nn
from training import taught

from advdistill import data, models
from advdistill.preflight.teacher import Claim, predictions, refuted_claims, wrong_class_order, wrong_normalisation


@pytest.fixture(scope="module")
def teacher():
    """A network trained on the digits with the normalisation that it has inside."""
    return taught(60, mean=(0.286,), std=(0.353,)).eval()


@pytest.fixture(scope="module")
def split():
    return data.load("digits", "test")


def restated(model, mean, std):
    other = models.create("convnet-8", 10, 1, mean, std)
    other.load_state_dict(model.state_dict())
    return other.eval()


def test_a_teacher_that_is_loaded_right_is_not_suspected(teacher, split):
    assert wrong_normalisation(teacher, split) is None and wrong_class_order(teacher, split) is None


def test_missing_statistics_are_named_with_the_option_to_give(teacher, split):
    right = (predictions(teacher, split) == split.labels).float().mean().item()
    said = wrong_normalisation(restated(teacher, (0.0,), (0.05,)), split)
    assert "wrong normalisation" in said and f"on {right:.1%} with that of Fashion-MNIST" in said
    assert said.endswith("Give ?mean=0.286&std=0.353.")


def test_statistics_given_to_a_network_that_needs_none(split):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.create("convnet-8", 10, 1)
    weights = model.state_dict()
    bare = restated(model, None, None)
    labels = predictions(bare, split)  # it is never wrong on its own answers
    own = type(split)(split.images, labels, split.classes, "its own answers")
    model.load_state_dict(weights)
    assert "with none. Leave mean and std out." in (wrong_normalisation(restated(model, (5.0,), (0.1,)), own) or "")


class Renamed(nn.Module):
    def __init__(self, network, places):
        super().__init__()
        self.network, self.places = network, places

    def forward(self, x):
        return self.network(x)[:, self.places]


def test_classes_in_another_order_are_named(teacher, split):
    places = torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, 9, 8])  # the network's class 0 is the digit 1
    said = wrong_class_order(Renamed(teacher, places), split)
    for text in ("in another order", "its class 0 is the data's 1 (1)", "its class 8 is the data's 9 (9)"):
        assert text in said
    assert "its class 2" not in said


def test_a_network_that_guesses_is_not_taken_for_a_renamed_one(split):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert wrong_class_order(models.create("convnet-8", 10, 1).eval(), split) is None


def test_a_claim_falls_only_if_it_is_significantly_out_of_reach():
    flags = [True] * 50 + [False] * 50  # the 95 % interval is 40.4 to 59.6
    assert list(refuted_claims(Claim(0.59, 0.59), flags, flags)) == []
    (said,) = refuted_claims(Claim(robust=0.6), flags, flags)
    assert "60.0%, is out of reach: 50.0% of 100 held-out images under PGD-10 (40.4% to 59.6%)" in said
    assert [text.split()[1] for text in refuted_claims(Claim(0.9, 0.9), flags, flags)] == ["clean", "robust"]
    assert list(refuted_claims(Claim(0.1, 0.1), flags, flags)) == []  # better than claimed is no contradiction


def test_a_claim_is_a_fraction():
    with pytest.raises(ValueError, match="fraction such as 0.563, got 56.3"):
        Claim(robust=56.3)
