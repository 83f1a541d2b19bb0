"""What networks make of images, clean and under one attack: logits to count with, pictures to show."""

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.messages import first_line
from .._internal.rng import Rng
from ..attacks import PGD
from ..attacks.autoattack import Report
from ..attacks.suites import ATTACKS, pgd
from ..data import Split
from ..data.batches import in_order, to_float
from ..losses import cross_entropy
from ..results.inspection import Example, Inspection, Look, Network
from ..results.result import Measurement
from ..threat import Threat, show_pixels
from .curve import robust_curve
from .gradients import gradient_alignment, linearity_remainder, pointwise_distance
from .metrics import by_class, calibration_error
from .networks import Judged
from .verdicts import digest

__all__ = ["Seen", "examples", "first_of_each", "see", "inspect"]

@dataclass(frozen=True, eq=False)
class Seen:
    """One network's view of a split, on the CPU.

    Attributes:
        clean, attacked: logits `[N, K]` of the images and of their x'.
        x_adv: x' of this network itself, `[N, C, H, W]`.
        seconds: what attack and passes took.
    """

    clean: Tensor
    attacked: Tensor
    x_adv: Tensor
    seconds: float


def see(
    network: Judged,
    split: Split,
    attack: PGD,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Seen:
    """Attack every image on the network's cross-entropy; the draws, and so the x', are those of evaluation."""
    rows, began = [], time.monotonic()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start, x, y in in_order(split, batch_size, device):
            loss = lambda moved, y=y: cross_entropy(network(moved), y)  # noqa: E731
            x_adv = attack(loss, x, Rng(seed, "attack", start, device=device))
            rows.append([tensor.cpu() for tensor in (network(x), network(x_adv), x_adv)])
    clean, attacked, x_adv = (torch.cat(column) for column in zip(*rows, strict=True))
    return Seen(clean, attacked, x_adv, round(time.monotonic() - began, 2))


def first_of_each(split: Split, most: int = 10) -> Tensor:
    """The places of the first image of each class that has one, in the order of the labels, at most so many."""
    return torch.stack([(split.labels == label).nonzero()[0, 0] for label in split.labels.unique()[:most]])


def examples(
    networks: Mapping[str, Judged], split: Split, seen: Mapping[str, Seen], device: torch.device | str = "cpu"
) -> tuple[Example, ...]:
    """The first image of each class with every network's look at it; `seen` is of the same split, by the same names."""
    chosen = first_of_each(split)
    part = split.take(chosen)
    x, labels = to_float(part.images[:]), [split.classes[label] for label in part.labels]
    gradients = {name: _gradient(network, x.to(device), part.labels.to(device)) for name, network in networks.items()}

    def look(name: str, i: int) -> Look:
        views, place = seen[name], chosen[i]
        before, after = (split.classes[logits[place].argmax()] for logits in (views.clean, views.attacked))
        return Look(before, after, views.x_adv[place].numpy(), gradients[name][i].numpy())

    return tuple(
        Example(x[i].numpy(), label, {name: look(name, i) for name in networks}) for i, label in enumerate(labels)
    )


def _gradient(network: Judged, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return torch.autograd.grad(cross_entropy(network(leaf), y).sum(), leaf)[0].cpu()


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
