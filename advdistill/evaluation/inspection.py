"""Numbers and pictures for a report: what networks predict for images, clean and under one attack."""

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.messages import first_line
from ..attacks.base import Report
from ..attacks.suites import pgd_20
from ..data import Given, Split
from ..data.batches import to_float
from ..models.digest import digest
from ..results.inspection import Example, Inspection, Network, Prediction
from ..results.result import Measurement
from ..threat import Threat, as_threat, show_pixels
from .context import Context, exact, silent
from .curve import robust_curve
from .gradients import gradient_alignment, input_gradient, linearity_remainder, pointwise_distance
from .metrics import by_class, calibration_error
from .networks import EvaluatedModel, split_and_device
from .watch import NO_GRADIENT

__all__ = ["Predictions", "examples", "first_of_each", "inspect", "predict"]

MULTIPLES = (1 / 2, 3 / 2, 2, 3, 4)  # of eps, in addition to 0 and 1
ATTACK = "pgd-20"


@dataclass(frozen=True, eq=False)
class Predictions:
    """One network's predictions for the images of a split, on the CPU.

    Attributes:
        clean, attacked: logits `[N, K]` of the images and of their x'.
        x_adv: x' from an attack on this network, `[N, C, H, W]`.
        seconds: duration of the attack and the forward passes.
        no_gradient: number of images without a gradient at the attack's first step.
    """

    clean: Tensor
    attacked: Tensor
    x_adv: Tensor
    seconds: float
    no_gradient: int


def inspect(
    student: nn.Module,
    data: Given,
    threat: Threat | str | float,
    *,
    teacher: nn.Module | None = None,
    n: int = 200,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
    report: Report | None = None,
) -> Inspection:
    """Inspect a student, and its teacher if given, on the first `n` images, or on all if there are fewer.

    In fp32 and eval mode. The cost is six PGD-20 on each network, fewer if a multiple of eps exceeds the threat's
    limit.

    Args:
        student, teacher: map `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they are not modified.
        data: images and labels, as in `evaluate`.
        device: where to run; by default the student's device.
        report: receives a line after each attack, and one if a network's linearity remainder cannot be computed.

    Raises:
        ValueError: before any attack, a network does not fit the data, or n is below 1.
    """
    (split, device), threat = split_and_device(student, data, device), as_threat(threat)
    used = split.first(min(n, len(split)))
    given = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    networks = {name: EvaluatedModel(network, split, device) for name, network in given.items()}
    context = Context(
        networks["student"], used, threat, seed=seed, batch_size=batch_size, device=device, report=report or silent
    )
    contexts = {name: _of(context, name, network) for name, network in networks.items()}
    predictions = {name: predict(one) for name, one in contexts.items()}
    aligned, apart = {}, {}
    if teacher is not None:
        first, second, x_adv = networks["student"], networks["teacher"], predictions["student"].x_adv
        found = gradient_alignment(first, second, used, batch_size=batch_size, device=device)
        aligned = {name: astuple(one) for name, one in found.items()}
        apart = pointwise_distance(first, second, used, threat, x_adv=x_adv, **_where(context))
    return Inspection(
        weights=digest(networks["student"].network),
        data=split.name,
        fingerprint=split.fingerprint(),
        threat=str(threat),
        eps=threat.eps,
        n=len(used),
        seed=seed,
        attack=pgd_20(threat).describe(split.num_classes),
        class_names=split.classes,
        networks={name: _network(one, predictions[name]) for name, one in contexts.items()},
        alignment=aligned,
        distances=apart,
        examples=examples(contexts, predictions),
    )


def _of(context: Context, name: str, network: nn.Module) -> Context:
    """Return the context with another network, whose name begins each line of progress."""
    return replace(context, model=network, report=lambda line: context.report(f"{name}: {line}"))


def predict(context: Context) -> Predictions:
    """Attack every image with PGD-20; the random draws, and so the x', are the same as in `evaluate`."""
    rows, lost, began, attack = [], 0, time.monotonic(), pgd_20(context.threat)
    with torch.no_grad(), exact():
        for start, x, y in context.batches():
            found = context.attack(attack, start, x, y)
            x_adv, lost = found.x_adv, lost + int(found.notes[NO_GRADIENT].sum())
            rows.append([tensor.cpu() for tensor in (context.model(x), context.model(x_adv), x_adv)])
    clean, attacked, x_adv = (torch.cat(column) for column in zip(*rows, strict=True))
    return Predictions(clean, attacked, x_adv, round(time.monotonic() - began, 2), lost)


def first_of_each(split: Split, most: int = 10) -> Tensor:
    """Return the index of the first image of each class that has images, by label, for at most `most` classes."""
    return torch.stack([(split.labels == label).nonzero()[0, 0] for label in split.labels.unique()[:most]])


def examples(contexts: Mapping[str, Context], predictions: Mapping[str, Predictions]) -> tuple[Example, ...]:
    """Return the first image of each class with each network's predictions; contexts, by network, share one split."""
    first = next(iter(contexts.values()))
    split, chosen = first.split, first_of_each(first.split)
    part = split.take(chosen)
    x, labels = to_float(part.images[:]), [split.classes[label] for label in part.labels]
    with exact():
        gradients = {
            name: input_gradient(one.model, x.to(one.device), part.labels.to(one.device)).cpu()
            for name, one in contexts.items()
        }

    def prediction(name: str, i: int) -> Prediction:
        found, place = predictions[name], chosen[i]
        before, after = (split.classes[logits[place].argmax()] for logits in (found.clean, found.attacked))
        return Prediction(before, after, found.x_adv[place].numpy(), gradients[name][i].numpy())

    return tuple(
        Example(x[i].numpy(), label, {name: prediction(name, i) for name in contexts}) for i, label in enumerate(labels)
    )


def _network(context: Context, predictions: Predictions) -> Network:
    labels, logits = context.split.labels, {"clean": predictions.clean, ATTACK: predictions.attacked}
    correct = {attack: found.argmax(1) == labels for attack, found in logits.items()}
    correct[ATTACK] &= correct["clean"]  # x itself is an admissible x'
    return Network(
        curve=_curve(context, correct, predictions),
        classes={attack: _classes(flags, context.split) for attack, flags in correct.items()},
        calibration={attack: calibration_error(found, labels) for attack, found in logits.items()},
        remainder=_remainder(context),
    )


def _curve(context: Context, correct: Mapping[str, Tensor], predictions: Predictions) -> dict[float, Measurement]:
    """Return the curve of `robust_curve`, without attacks at known points: at 0, where x' is x, and at eps."""
    threat, split = context.threat, context.split

    def known(eps: float, flags: Tensor, seconds: float, lost: int | None = None) -> Measurement:
        settings = pgd_20(replace(threat, eps=eps)).describe(split.num_classes)
        found = Measurement(ATTACK, settings, len(split), int(flags.sum()), seconds, no_gradient=lost)
        context.report(f"eps {show_pixels(eps)}, {ATTACK}: {found.accuracy:.1%} of {found.n} images, {seconds:.1f} s")
        return found

    points = {0.0: known(0.0, correct["clean"], 0.0)}
    if threat.eps:
        points[threat.eps] = known(threat.eps, correct[ATTACK], predictions.seconds, predictions.no_gradient)
        others = [k * threat.eps for k in MULTIPLES if k * threat.eps <= threat.limit]
        points |= robust_curve(context.model, split, others, type(threat), report=context.report, **_where(context))
    return dict(sorted(points.items()))


def _classes(correct: Tensor, split: Split) -> list[tuple[int, int]]:
    """Return the numbers of images and of correct ones for each label; both are 0 for a class without images."""
    labels = [str(label) for label in range(split.num_classes)]  # two classes may share a name, as in Tiny ImageNet
    counted = {int(one.name): (one.n, one.correct) for one in by_class(correct, split.labels, labels).accuracies}
    return [counted.get(label, (0, 0)) for label in range(split.num_classes)]


def _remainder(context: Context) -> float | None:
    try:
        return linearity_remainder(context.model, context.split, context.threat, **_where(context))
    except RuntimeError as error:  # or NotImplementedError; an autograd.Function without jvp raises RuntimeError
        context.report(f"no remainder, torch cannot differentiate it in forward mode ({first_line(error)})")
        return None


def _where(context: Context) -> dict[str, Any]:
    return {"batch_size": context.batch_size, "seed": context.seed, "device": context.device}
