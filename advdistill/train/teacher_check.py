"""Check the teachers before training: their accuracy on held-out images, and whether T is robust."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._internal.modes import in_mode
from ..attacks import PGD
from ..attacks.suites import pgd
from ..data import Split
from ..evaluation.measure import correct
from ..methods import Method
from ..methods.roles import flag
from ..results.result import wilson
from ..threat import Threat

__all__ = ["CHECKED", "in_turn", "inspect"]

CLEAN, ATTACKED = 256, 100  # images; enough to tell a wrong teacher from a right one
FEWEST = 100  # images; with fewer, a teacher of two classes may be wrong on half of them by chance
FRAGILE = 0.1  # even a weak robust teacher has more than this share of its clean accuracy under PGD-10

CHECKED = {"robust": "t.pt", "clean": "n.pt"}  # roles whose networks begin trained; their file names in messages


def inspect(
    teachers: dict[str, nn.Module],
    split: Split,
    threat: Threat,
    method: Method,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = print,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Evaluate the teachers on a few held-out images, and raise ValueError if one is evidently wrong.

    Clean accuracy is measured on 256 images, PGD-10 accuracy (step eps / 4, uniform start) on the first 100 of them;
    both sets alternate between the classes. Jointly trained teachers other than `robust` and `clean` are skipped,
    since they begin untrained.

    Args:
        teachers: networks by role, images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they are moved to `device`,
            and otherwise not changed, their modes included. No global random state is changed.
        split: images held out from training.
        threat: the threat model of the training.
        method: its terms may have a `caution` for teachers that are not robust.
        report: called with one line for each teacher.

    Returns:
        Two dictionaries of bool `[n]` by role: which clean images are classified correctly, and, for the robust
        teacher only, which are still classified correctly under PGD-10.

    Raises:
        ValueError: on 100 images or more a teacher is not significantly better than guessing, or the clean teacher is
            worse than the robust one on clean images: its 95 % Wilson interval lies below the robust teacher's.

    Warns:
        UserWarning: the robust teacher's PGD-10 accuracy is significantly below a tenth of its clean accuracy.
    """
    some, attack = in_turn(split, CLEAN), pgd(10, threat)
    checked = {role for role in method.teachers if role not in method.trained} | CHECKED.keys()
    networks = {role: network.to(device) for role, network in teachers.items() if role in checked}
    clean = {role: _correct(network, some, None, device) for role, network in networks.items()}
    attacked = {
        role: _correct(network, some.first(min(ATTACKED, len(some))), attack, device)
        for role, network in networks.items()
        if role == "robust"
    }
    for role in networks:
        report(_line(role, clean[role], attacked.get(role)))
    fragile = "robust" in networks and _fragile(clean["robust"], attacked["robust"])
    if {"robust", "clean"} <= networks.keys():
        _check_against(clean["robust"], clean["clean"], fragile)
    for role, flags in clean.items():
        _check_guessing(role, flags, split.num_classes)
    if fragile:
        warnings.warn(_warning(clean["robust"], attacked["robust"], threat, method), stacklevel=3)
    return clean, attacked


def in_turn(split: Split, n: int) -> Split:
    """Return at most `n` images: the first of every class, the second of every class, and so on."""
    counts = split.labels.bincount()
    by_class = split.labels.argsort(stable=True)
    place = torch.arange(len(split)) - (counts.cumsum(0) - counts)[split.labels[by_class]]
    return split.take(by_class[place.argsort(stable=True)][:n])


def _correct(network: nn.Module, split: Split, attack: PGD | None, device: torch.device | str) -> Tensor:
    # small batches: a teacher whose forward pass fits on the device may not fit with the attack's graph
    with in_mode(network, train=False):
        return correct(network, split, attack, batch_size=64, device=device)


def _line(role: str, clean: Tensor, attacked: Tensor | None) -> str:
    if attacked is None:
        return f"{role} teacher: {_percent(clean)} clean ({len(clean)} held-out images)"
    images = f"{len(clean)} and {len(attacked)} held-out images"
    return f"{role} teacher: {_percent(clean)} clean, {_percent(attacked)} under PGD-10 ({images})"


def _check_guessing(role: str, flags: Tensor, classes: int) -> None:
    if len(flags) < FEWEST or _interval(flags)[0] > 1 / classes:
        return
    raise ValueError(
        f"The {role} teacher is right on {_percent(flags)} of {len(flags)} held-out images, no better than guessing "
        f"one of {classes} classes. Its classes may be in another order than the data's, or its normalisation missing "
        f"or wrong: {flag(role)} 'file:{CHECKED.get(role, 't.pt')}?mean=...&std=...', one value per channel."
    )


def _check_against(robust: Tensor, clean: Tensor, fragile: bool) -> None:
    if _interval(clean)[1] >= _interval(robust)[0]:
        return
    swapped = " Or were the two swapped? The robust teacher is not robust." if fragile else ""
    raise ValueError(
        f"The clean teacher is right on {_percent(clean)} of {len(clean)} held-out images, the robust teacher on "
        f"{_percent(robust)}; a clean teacher should be the better one. Its mean and std are probably missing (a "
        "public ResNet-56 has 52 % instead of 94 % without them): --clean-teacher 'file:n.pt?mean=...&std=...', "
        f"one value per channel.{swapped}"
    )


def _fragile(clean: Tensor, attacked: Tensor) -> bool:
    return _interval(attacked)[1] < FRAGILE * clean.float().mean().item()


def _warning(clean: Tensor, attacked: Tensor, threat: Threat, method: Method) -> str:
    sentences = [
        f"The robust teacher is not robust: {_percent(attacked)} under PGD-10 ({threat}), {_percent(clean)} clean.",
        "A standard-trained teacher cannot teach robustness, and its predictions at x' are wrong.",
        "Use an adversarially trained teacher.",
        *(part.caution for part in method.parts),
    ]
    return " ".join(filter(None, sentences))


def _interval(flags: Tensor) -> tuple[float, float]:
    return wilson(int(flags.sum()), len(flags))


def _percent(flags: Tensor) -> str:
    return f"{flags.float().mean().item():.1%}".replace("%", " %")
