"""Tests that attacks of torchattacks give the same verdicts as the library called by hand."""

import pytest
import torch
from safetensors.torch import load_file
from test_own_attacks import batches
from torch import nn

import advdistill as ad
from advdistill import L2, Linf, data, evaluate, models
from advdistill._internal.rng import Rng

torchattacks = pytest.importorskip("torchattacks", reason="TORCHATTACKS IS NOT TESTED: make test installs it")
THREAT = Linf(0.1)


@pytest.fixture(scope="module")
def model(teacher):
    return models.load(teacher).eval()


@pytest.fixture(scope="module")
def test():
    return data.load("digits", "test").first(60)


@pytest.mark.parametrize(("name", "options", "threat"), [
    ("PGD", {"eps": 0.1, "alpha": 0.025, "steps": 5}, THREAT),
    ("MIFGSM", {"eps": 0.1, "steps": 5}, THREAT),
    ("PGDL2", {"eps": 0.5, "alpha": 0.1, "steps": 5}, L2(0.5)),
    ("Square", {"eps": 0.1, "n_queries": 50}, THREAT),
    ("APGD", {"eps": 0.1, "steps": 5}, THREAT),
    ("FFGSM", {"eps": 0.1, "alpha": 0.1}, THREAT),
])  # fmt: skip
def test_an_attack_of_torchattacks_gives_the_verdicts_of_the_library_called_by_hand(
    model, test, tmp_path, name, options, threat
):
    keep, kind = tmp_path / "v.safetensors", getattr(torchattacks, name)
    attack = ad.attacks.torchattacks(name, **options)
    result = evaluate(model, test, threat, attacks=["clean", attack], batch_size=25, keep=keep)
    right = []
    for x, y, rng in batches(test):
        torch.manual_seed(rng.seed)
        seed = {"seed": rng.seed % 2**31} if name in ("Square", "APGD") else {}
        right.append((model(kind(model, **options, **seed)(x, y)).argmax(1) == y) & (model(x).argmax(1) == y))
    measured = result[f"torchattacks-{name}"]
    assert torch.equal(load_file(keep)[measured.attack].bool(), torch.cat(right))
    assert measured.correct == torch.cat(right).sum() < result["clean"].correct and measured.outside == 0
    assert measured.settings.startswith(f"{name}, ") and f"eps {threat.eps}" in measured.settings
    assert attack.settings["eps"] == threat.eps and "seed" not in attack.settings
    assert result.versions["torchattacks"] == torchattacks.__version__


def test_a_seed_that_the_library_would_take_from_the_clock_is_the_evaluations(model, test):
    seeds = []

    def clocked(model, eps, seed=None):
        seeds.append(seed)
        return torchattacks.FGSM(model, eps)

    found = evaluate(model, test, THREAT, attacks=[ad.attacks.torchattacks(clocked, eps=0.1)], batch_size=30)
    assert seeds[1:] == [rng.seed % 2**31 for _, _, rng in batches(test)]  # the first is of the trial
    assert found["torchattacks-clocked"].settings == "clocked, eps 0.1"
    evaluate(model, test, THREAT, attacks=[ad.attacks.torchattacks(clocked, eps=0.1, seed=7)])
    assert seeds[-1] == 7


def test_the_eps_is_the_attacks_own_and_what_leaves_the_threat_does_not_count(model, test):
    result = evaluate(model, test, THREAT, attacks=["clean", ad.attacks.torchattacks("FGSM", eps="77/255")])
    measured = result["torchattacks-FGSM"]
    assert measured.outside == 60 and measured.correct == result["clean"].correct
    assert measured.settings == "FGSM, eps 77/255"


class Line(nn.Module):
    """A network without parameters, from which torchattacks reads the device."""

    def forward(self, x):
        v = x.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(v), 2 * v - 1], 1)


def test_a_network_without_parameters_and_what_the_library_does_to_modes(model, capsys):
    x, y, rng = torch.full((3, 1, 2, 2), 0.55), torch.ones(3, dtype=torch.int64), Rng(0)
    attack = ad.attacks.torchattacks(torchattacks.FGSM, eps=0.1)
    assert torch.allclose(attack(Line(), x, y, rng=rng), x - 0.1) and capsys.readouterr().out == ""
    model.train()
    model.linear.eval()
    attack(model, torch.rand(3, 1, 8, 8), y, rng=rng)
    assert not model.linear.training and model.training and model.conv1.training
    model.eval()


def test_what_is_no_class_of_torchattacks_is_a_sentence(model, without):
    with pytest.raises(ValueError, match="torchattacks has no attack 'pgd'; it has PGD, MIFGSM"):
        ad.attacks.torchattacks("pgd")
    with pytest.raises(TypeError, match=r"PGD of torchattacks cannot be made with \{'epsilon': 0.1\}: .*'epsilon'"):
        ad.attacks.torchattacks("PGD", epsilon=0.1)
    without("torchattacks")
    with pytest.raises(ImportError, match=r'needs the package torchattacks; .* "advdistill\[torchattacks\]"'):
        ad.attacks.torchattacks("PGD")
