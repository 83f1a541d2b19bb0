"""Verify a published result in minutes: classify its images again, and attack a sample of its survivors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..._internal.rng import generator
from ...attacks.base import TOLERANCE, Report
from ...data import Given, Split
from ...losses import cross_entropy, margin
from ...models.digest import digest
from ...results.consistency import same_weights
from ...results.result import Result
from ...threat import Threat, parse
from ..context import Context, exact, silent
from ..masking.attacks import pgd_100
from ..masking.passes import attackable
from ..networks import EvaluatedModel, split_and_device
from ..verdicts import CORRECT
from .again import contradictions, run_again
from .findings import MAX_BROKEN_SHARE, Breaks, Clean, Survivors, Verification
from .images import CONFIRMED, MISSING, NOT_WRONG, OUTSIDE, UNDECIDED, classify, states

__all__ = ["verify"]


def verify(
    model: nn.Module,
    data: Given,
    result: Result,
    verdicts: Mapping[str, Tensor],
    images: Path,
    *,
    facts: Mapping[str, str] | None = None,
    sample: int = 64,
    bound: float = MAX_BROKEN_SHARE,
    draw: int | None = None,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    report: Report | None = None,
) -> Verification:
    """Check every verdict of a result, in fp32 and eval mode, and attack some of the images reported as robust.

    A break is confirmed if x' is in [0, 1], within eps up to 1e-6, and misclassified.

    Args:
        data: images and labels, as in `evaluate`; the whole split, even if fewer images were evaluated.
        verdicts: by attack, `[n]` uint8: 1 still classified correctly, 0 broken.
        images: a folder of files `ATTACK.START.safetensors`, each with `index` int64 `[k]`, indices in the split, and
            `x_adv` fp32 `[k, C, H, W]`; they are read one by one. A break without an x' there is unverified.
        facts: the metadata of the verdicts' file, compared with the result.
        sample: number of survivors of the strongest attack to attack with PGD-100, and number of images on which each
            attack of the result is run again.
        bound: the share of the survivors that a stronger attack may break; a larger share refutes the result.
        draw: seed for choosing these images. `None` is the result's seed, which its author knows: use another one to
            verify somebody else's result.
        report: receives a line before each step.

    Raises:
        ValueError: the model, the data or the verdicts do not belong to the result, the result contradicts itself, or a
            file of `images` is damaged.
    """
    split, device = split_and_device(model, data, device)
    copied, threat, draw = EvaluatedModel(model, split, device), _threat(result), result.seed if draw is None else draw
    if not 0 <= bound < 1:
        usual = f"The usual one is {MAX_BROKEN_SHARE}."
        raise ValueError(f"The bound is a share of the survivors in [0, 1), got {bound}. {usual}")
    _check(copied, split, result, verdicts, sample)
    correct = {m.attack: verdicts[m.attack] == CORRECT for m in result.measurements}
    attacks = [m.attack for m in result.measurements if m.attack != "clean"]
    used = split.first(result.measurements[0].n)
    context = Context(
        copied, used, threat, attackable(copied),
        seed=result.seed, batch_size=batch_size, device=device, report=report or silent,
    )  # fmt: skip
    with exact():
        context.report(f"clean: classifying {len(used)} images")
        right, close = _on_clean(context)
        clean = _clean(correct["clean"], right, close) if "clean" in correct else None
        breaks, again, left_out = {}, {}, []
        own = {name: str(getattr(result, name)) for name in ("weights", "fingerprint", "threat", "seed")}
        for attack in attacks:
            context.report(f"{attack}: classifying its adversarial images")
            found, others = states(context, attack, Path(images), own)
            left_out += others
            breaks[attack] = _breaks(correct[attack], correct.get("clean", right), found, right | close)
            if sample:
                again[attack] = run_again(context, attack, correct[attack], sample, draw)
        survivors = _survivors(context, {name: correct[name] for name in attacks}, sample, draw)
    denied = tuple(contradictions(result, verdicts, facts or {}, threat, split.num_classes))
    return Verification(
        result.model, result.data, result.threat, clean, breaks, survivors, bound, again, denied, tuple(left_out)
    )


def _threat(result: Result) -> Threat:
    threat = parse(result.threat)
    if not abs(threat.eps - result.eps) <= TOLERANCE:
        raise ValueError(f"The result contradicts itself: its threat model is {result.threat}, its eps {result.eps}.")
    return threat


def _check(model: EvaluatedModel, split: Split, result: Result, verdicts: Mapping[str, Tensor], sample: int) -> None:
    """Raise ValueError if model, data or verdicts do not belong to the result, before anything is computed."""
    if sample < 0:
        raise ValueError(f"The sample of survivors must be 0 or more, got {sample}. The usual number is 64.")
    if not same_weights(weights := digest(model.network), result.weights):
        raise ValueError(
            f"The result is of weights {result.weights}, this model has {weights}. Give the model that was evaluated."
        )
    if (fingerprint := split.fingerprint()) != result.fingerprint:
        raise ValueError(
            f"The result is of {result.data} ({result.fingerprint}), these images are {split.name} ({fingerprint}). "
            "Give the whole split that was evaluated."
        )
    if len({m.n for m in result.measurements}) != 1:
        counts = ", ".join(f"{m.attack} {m.n}" for m in result.measurements) or "none"
        raise ValueError(f"A result is verified if its attacks are on the same images; it has {counts}.")
    for m in result.measurements:
        flags = verdicts.get(m.attack)
        if flags is None or flags.dtype != torch.uint8 or flags.shape != (m.n,) or (flags > CORRECT).any():
            raise ValueError(f"For {m.attack} there must be {m.n} verdicts, uint8, 0 or 1. Give the result's own file.")
        if (count := int(flags.sum())) != m.correct:
            raise ValueError(
                f"By the result {m.correct} of {m.n} images are classified correctly under {m.attack}, by its verdicts "
                f"{count}. Give the result's own file."
            )


def _on_clean(context: Context) -> tuple[Tensor, Tensor]:
    rows = [classify(context, x, y) for _, x, y in context.batches()]
    right, close = (torch.cat(column) for column in zip(*rows, strict=True))
    return right, close


def _clean(correct: Tensor, right: Tensor, close: Tensor) -> Clean:
    differ = right != correct
    return Clean(len(right), int((differ & ~close).sum()), int((differ & close).sum()))


def _breaks(correct: Tensor, right: Tensor, found: Tensor, clean: Tensor) -> Breaks:
    """Compare an attack's verdicts with its published images; an image that is wrong when clean needs none."""
    broken = found[right & ~correct]
    return Breaks(
        counted=len(broken),
        confirmed=int((broken == CONFIRMED).sum()),
        outside=int((broken == OUTSIDE).sum()),
        not_wrong=int((broken == NOT_WRONG).sum()),
        undecided=int((broken == UNDECIDED).sum()),
        missing=int((broken == MISSING).sum()),
        contradicted=int((found[correct] == CONFIRMED).sum()),
        never_right=int((correct & ~clean).sum()),
    )


def _survivors(context: Context, correct: dict[str, Tensor], sample: int, draw: int) -> Survivors | None:
    """Attack some of the strongest attack's survivors with another loss, smaller steps and other random draws."""
    strongest = min(reversed(correct), key=lambda attack: correct[attack].sum(), default=None)
    if strongest is None or not sample or not context.threat.eps or not correct[strongest].any():
        return None
    left = correct[strongest].nonzero()[:, 0]
    order = torch.randperm(len(left), generator=generator(draw, "survivors"))
    drawn = torch.zeros_like(correct[strongest])
    drawn[left[order[:sample]]] = True
    context.report(f"{strongest}: attacking {drawn.sum()} of {len(left)} survivors with PGD-100")
    attack, robust = pgd_100(context.threat), drawn
    for loss in (cross_entropy, margin):
        robust = context.correct(replace(attack, loss=loss), among=robust, again=1)
    fell = int((drawn & ~robust).sum())
    return Survivors(strongest, "PGD-100", len(drawn), len(left), int(drawn.sum()), fell)
