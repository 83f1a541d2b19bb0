"""A student looked at beside its teacher: accuracy by eps and by class, calibration, gradients, pictures."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from ..attacks.autoattack import Report
from ..data import Split
from ..errors import first_line
from ..report.inspection import Inspection, Network
from ..result import Measurement
from ..threat import Threat, show_pixels
from .alignment import gradient_alignment, pointwise_distance
from .calibration import calibration_error
from .classes import by_class
from .curve import robust_curve
from .judged import Judged
from .linearity import linearity_remainder
from .looks import Seen, examples, see
from .suites import ATTACKS, pgd
from .verdicts import digest

__all__ = ["inspect"]

MULTIPLES = (1 / 2, 3 / 2, 2, 3, 4)  # of eps, beside 0 and 1
ATTACK = "pgd-20"


def inspect(
    student: nn.Module,
    split: Split,
    threat: Threat,
    *,
    teacher: nn.Module | None = None,
    n: int = 200,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> Inspection:
    """Look at a student, and at its teacher where one is given, on the first `n` images, or on all if there are fewer.

    In fp32 and eval mode. The price is six PGD-20 of each network, fewer where a multiple of eps passes the threat's
    limit.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.
        report: receives a line after each attack, and one where a network's remainder cannot be taken.

    Raises:
        ValueError: a network does not fit the split, or n is below 1; nothing was attacked.
    """
    used, say = split.first(min(n, len(split))), report or (lambda line: None)
    given = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    networks = {name: Judged(network, split, device) for name, network in given.items()}
    where: dict[str, Any] = {"batch_size": batch_size, "device": device}
    attack, climbed = ATTACKS[ATTACK](threat), pgd(20, threat)
    seen = {name: see(net, used, climbed, seed=seed, **where) for name, net in networks.items()}
    options = where | {"seed": seed}
    return Inspection(
        weights=digest(networks["student"].network),
        data=split.name,
        fingerprint=split.fingerprint(),
        threat=str(threat),
        eps=threat.eps,
        n=len(used),
        seed=seed,
        attack=attack.describe(split.num_classes),
        class_names=split.classes,
        networks={name: _network(name, net, used, threat, seen[name], options, say) for name, net in networks.items()},
        alignment=_alignment(networks, used, where),
        distances=_distances(networks, used, threat, seen, options),
        examples=examples(networks, used, seen, device),
    )


def _network(
    name: str, net: Judged, used: Split, threat: Threat, seen: Seen, options: dict[str, Any], say: Report
) -> Network:
    logits = {"clean": seen.clean, ATTACK: seen.attacked}
    standing = {attack: found.argmax(1) == used.labels for attack, found in logits.items()}
    return Network(
        curve=_curve(name, net, used, threat, standing, seen.seconds, options, say),
        classes={attack: _classes(flags, used) for attack, flags in standing.items()},
        calibration={attack: calibration_error(found, used.labels) for attack, found in logits.items()},
        remainder=_remainder(name, net, used, threat, options, say),
    )


def _curve(
    name: str, net: Judged, used: Split, threat: Threat, standing: dict[str, Tensor], seconds: float,
    options: dict[str, Any], say: Report,
) -> dict[float, Measurement]:  # fmt: skip
    """As `robust_curve`, without an attack where the outcome is known: at 0, where x' is x, and at eps."""

    def known(eps: float, flags: Tensor, seconds: float) -> Measurement:
        settings = ATTACKS[ATTACK](type(threat)(eps)).describe(used.num_classes)
        found = Measurement(ATTACK, settings, len(used), int(flags.sum()), seconds)
        say(f"{name}: eps {show_pixels(eps)}, {ATTACK}: {found.accuracy:.1%} of {found.n} images, {seconds:.1f} s")
        return found

    curve = {0.0: known(0.0, standing["clean"], 0.0)}
    if threat.eps:
        curve[threat.eps] = known(threat.eps, standing[ATTACK], seconds)
        others = [k * threat.eps for k in MULTIPLES if k * threat.eps <= threat.limit]
        line = lambda said: say(f"{name}: {said}")  # noqa: E731
        curve |= robust_curve(net, used, others, type(threat), report=line, **options)
    return dict(sorted(curve.items()))


def _classes(standing: Tensor, used: Split) -> list[tuple[int, int]]:
    """Images and right ones by label; a class without an image has none of either."""
    labels = [str(label) for label in range(used.num_classes)]  # two classes may share a name, as in Tiny ImageNet
    counted = {int(one.name): (one.n, one.correct) for one in by_class(standing, used.labels, labels).accuracies}
    return [counted.get(label, (0, 0)) for label in range(used.num_classes)]


def _remainder(
    name: str, net: Judged, used: Split, threat: Threat, options: dict[str, Any], say: Report
) -> float | None:
    try:
        return linearity_remainder(net, used, threat, **options)
    except RuntimeError as error:  # as NotImplementedError is, and what an autograd.Function without jvp raises
        say(f"{name}: no remainder, torch cannot differentiate it in forward mode ({first_line(error)})")
        return None


def _alignment(networks: Mapping[str, Judged], used: Split, where: dict[str, Any]) -> dict[str, tuple[float, float]]:
    if "teacher" not in networks:
        return {}
    found = gradient_alignment(networks["student"], networks["teacher"], used, **where)
    return {name: astuple(alignment) for name, alignment in found.items()}


def _distances(
    networks: Mapping[str, Judged], used: Split, threat: Threat, seen: Mapping[str, Seen], options: dict[str, Any]
) -> dict[str, float]:
    if "teacher" not in networks:
        return {}
    x_adv = seen["student"].x_adv
    return pointwise_distance(networks["student"], networks["teacher"], used, threat, x_adv=x_adv, **options)
