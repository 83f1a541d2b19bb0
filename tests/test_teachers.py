"""The check of the teachers before a run, with networks whose accuracies are known exactly."""

import warnings

import pytest
import torch
from torch import nn

from advdistill.attacks import PGD
from advdistill.data import Split
from advdistill.methods import IGDM, MTARD, RSLAD, SAAD, AdaAD, Standard
from advdistill.threat import L2, Linf
from advdistill.train import teacher_check as module
from advdistill.train.teacher_check import inspect

CLASSES = 4


class Reader(nn.Module):
    """Predicts the brightest of the four pixels of one channel; in eval mode batch-norm is the identity."""

    def __init__(self, channel: int):
        super().__init__()
        self.channel, self.norm = channel, nn.BatchNorm1d(CLASSES, eps=0)
        self.frozen = nn.Dropout()

    def forward(self, x):
        return self.norm(x[:, self.channel, 0])


def channel(labels, right, sturdy):
    """One pixel of four is lit, the label's in the first `right` images, its neighbour's in the rest.

    The first `sturdy` are white, which survives eps 0.2 (1 - 0.2 > 0.2); the others are 51/255, which does not.
    """
    place = torch.arange(len(labels))
    lit = nn.functional.one_hot((labels + (place >= right)) % CLASSES, CLASSES)
    return lit * torch.where(place < sturdy, 255, 51)[:, None]


def coded(robust=(256, 100), clean=256, labels=None):
    """Held-out images: channel 0 is for the robust teacher (right, sturdy), channel 1 for the clean one (right)."""
    labels = torch.arange(256) % CLASSES if labels is None else labels
    channels = [channel(labels, *robust), channel(labels, clean, 0)]
    images = torch.stack(channels, 1)[:, :, None].to(torch.uint8)
    return Split(images, labels, tuple("abcd"), "codes/train (held out)")


def look(split, threat=None, method=None, roles=("robust", "clean")):
    """The lines that `inspect` reports; a warning is an error."""
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inspect(both(*roles), split, threat or Linf(0.2), method or MTARD(), "cpu", lines.append)
    return lines


def both(*roles):
    networks = {"robust": Reader(0), "clean": Reader(1)}
    return {role: networks[role].eval() for role in roles}


@pytest.mark.parametrize(
    "threat, robust",
    # lit 0.2 against 0: broken from eps 0.1 (Linf) or 0.2 / sqrt(2) (L2) on; lit 1: from 0.5 or 1 / sqrt(2) on
    [(Linf(0.2), 46), (Linf(0.05), 100), (L2(0.5), 46), (L2(0.1), 100), (Linf(0), 100)],
    ids=str,
)
def test_what_is_measured_is_printed(threat, robust):
    assert look(coded((205, 46), clean=241), threat) == [
        f"robust teacher: 80.1 % clean, {robust}.0 % under PGD-10 (256 and 100 held-out images)",
        "clean teacher: 94.1 % clean (256 held-out images)",
    ]


def test_the_attack_is_pgd_10_with_steps_of_a_quarter_eps(monkeypatch):
    attacks, measured = [], module.correct
    monkeypatch.setattr(module, "correct", lambda *a, **k: attacks.append(a[2]) or measured(*a, **k))
    look(coded(), L2(0.4))
    assert attacks == [None, None, PGD(10, 0.1, L2(0.4), "uniform")]


def test_an_ordered_split_is_measured_on_all_classes():
    # 100 images of each class in order, the last class wrong
    assert look(coded((300, 400), labels=torch.arange(400) // 100), roles=["robust"]) == [
        "robust teacher: 75.0 % clean, 75.0 % under PGD-10 (256 and 100 held-out images)"
    ]


def test_a_rare_class_is_measured_whole():
    # all 10 images of class 1 are wrong, and among the first 100
    labels = torch.cat([torch.zeros(300), torch.ones(10)]).long()
    assert look(coded((300, 310), labels=labels), roles=["robust"]) == [
        "robust teacher: 96.1 % clean, 90.0 % under PGD-10 (256 and 100 held-out images)"
    ]


def test_a_clean_teacher_alone_and_none():
    assert look(coded(clean=200), roles=["clean"]) == ["clean teacher: 78.1 % clean (256 held-out images)"]
    assert look(coded(), method=Standard(), roles=[]) == []


def test_a_peer_is_passed_over():
    lines = []
    inspect(both("robust") | {"peer": nn.Identity()}, coded(), Linf(0.2), RSLAD(), "cpu", lines.append)
    assert [line.split()[0] for line in lines] == ["robust"]


# The counts at the edges below are scipy's: binomtest(k, n).proportion_ci(method="wilson").


def test_a_clean_teacher_worse_than_the_robust_one_is_refused():
    look(coded((205, 100), clean=178))  # 69.5 % reaches up to 74.82 %, 80.1 % down to 74.77 %
    message = (
        "The clean teacher is right on 52.0 % of 256 held-out images, the robust teacher on 80.1 %.*"
        r"mean and std are probably missing.*--clean-teacher 'file:n.pt\?mean=...&std=...', one value per channel.$"
    )
    with pytest.raises(ValueError, match=message):
        look(coded((205, 100), clean=133))
    with pytest.raises(ValueError, match="The clean teacher is right on 69.1 %"):
        look(coded((205, 100), clean=177))


def test_two_teachers_swapped_are_recognised():
    with pytest.raises(ValueError, match="94.1 %; .* were the two swapped"):
        look(coded((241, 0), clean=205))


@pytest.mark.parametrize("roles, flag", [(["robust"], "--teacher"), (["clean"], "--clean-teacher")])
def test_a_teacher_that_guesses_is_refused(roles, flag):
    look(coded((78, 100), clean=78), roles=roles)
    message = (
        f"The {roles[0]} teacher is right on 30.1 % of 256 held-out images, no better than guessing one of 4 classes"
        rf".*{flag} 'file:..pt\?mean="
    )
    with pytest.raises(ValueError, match=message):
        look(coded((77, 100), clean=77), roles=roles)


def test_two_teachers_that_guess_are_refused():
    with pytest.raises(ValueError, match="The robust teacher is right on 25.0 %"):
        look(coded((64, 100), clean=64))


def test_of_few_images_little_is_concluded():
    few = torch.arange(20) % CLASSES
    assert look(coded((0, 0), clean=3, labels=few)) == [
        "robust teacher: 0.0 % clean, 0.0 % under PGD-10 (20 and 20 held-out images)",
        "clean teacher: 15.0 % clean (20 held-out images)",
    ]
    look(coded((20, 0), labels=few), roles=["robust"])  # 0 of 20 is compatible with 16 %


def warned(split, method):
    """The warnings of `inspect`; each points at the line that called `distill`, which is in another file."""
    scope = {"inspect": inspect}
    exec(compile("def distill(*arguments): inspect(*arguments)", "train/__init__.py", "exec"), scope)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scope["distill"](both("robust"), split, Linf(0.2), method, "cpu", lambda line: None)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def test_a_robust_teacher_that_is_not_robust_is_warned_about():
    (message,) = warned(coded((241, 2)), RSLAD())
    assert message.startswith("The robust teacher is not robust: 2.0 % under PGD-10 (Linf 0.2), 94.1 % clean. ")
    assert message.endswith("at x' are wrong. Use an adversarially trained teacher.")


def test_the_warning_needs_significance():
    assert len(warned(coded((256, 4)), RSLAD())) == 1  # 4 of 100 reach up to 9.8 %, below a tenth of 100 %
    assert warned(coded((256, 5)), RSLAD()) == []  # 11.2 %
    assert warned(coded((205, 3)), RSLAD()) == []  # 8.5 %, and a tenth of 80.1 % is less


@pytest.mark.parametrize(
    "method, terms", [(AdaAD() + IGDM(), [IGDM]), (SAAD(), [SAAD]), (SAAD() + IGDM(), [SAAD, IGDM])]
)
def test_the_warning_carries_the_cautions_of_terms(method, terms):
    (message,) = warned(coded((256, 0)), method)
    assert all(term.caution and term.caution in message for term in terms)
    assert warned(coded(), method) == []


def test_nothing_is_changed():
    networks = both("robust", "clean")
    networks["robust"].train()
    networks["robust"].frozen.eval()
    modules = [m for network in networks.values() for m in network.modules()]
    modes, state = [m.training for m in modules], torch.random.get_rng_state()
    before = {role: {k: v.clone() for k, v in net.state_dict().items()} for role, net in networks.items()}
    inspect(networks, coded(), Linf(0.2), MTARD(), "cpu", lambda line: None)
    assert [m.training for m in modules] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    for role, network in networks.items():
        assert all(torch.equal(value, before[role][name]) for name, value in network.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in network.parameters())
