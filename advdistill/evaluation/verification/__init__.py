"""A published result looked at again in minutes: its verdicts judged once more, a sample of its survivors attacked."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..._internal.rng import generator
from ...attacks import PGD
from ...attacks.autoattack import TOLERANCE, Report
from ...data import Split
from ...data.batches import in_order
from ...losses import cross_entropy, margin
from ...results.result import Result
from ...threat import Threat, parse
from ..masking.attacks import Field
from ..networks import Judged
from ..verdicts import STANDS, digest
from .findings import Breaks, Clean, Survivors, Verification
from .images import CONFIRMED, MISSING, NOT_WRONG, OUTSIDE, UNDECIDED, judge, states

__all__ = ["verify"]


def verify(
    model: nn.Module,
    split: Split,
    result: Result,
    verdicts: Mapping[str, Tensor],
    images: Path,
    *,
    sample: int = 64,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> Verification:
    """Judge every verdict of a result again, in fp32 and eval mode, and attack some of the images that stand.

    A break is confirmed where x' is in [0, 1], inside eps up to 1e-6, and misclassified.

    Args:
        split: all of it, though fewer images were evaluated.
        verdicts: by attack, `[n]` uint8: 1 stands, 0 broken.
        images: a folder of files `ATTACK.START.safetensors`, each with `index` int64 `[k]`, places in the split, and
            `x_adv` fp32 `[k, C, H, W]`; they are read one by one. A break that is not there is unverified.
        sample: so many survivors of the strongest attack, drawn by the result's seed, are attacked with PGD-100.
        report: receives a line before each part of the work.

    Raises:
        ValueError: the model, the split or the verdicts are not the result's, the result contradicts itself, or a file
            of `images` is damaged.
    """
    judged, threat, say = Judged(model, split, device), _threat(result), report or (lambda line: None)
    _check(judged, split, result, verdicts, sample)
    standing = {m.attack: verdicts[m.attack] == STANDS for m in result.measurements}
    attacks = [m.attack for m in result.measurements if m.attack != "clean"]
    field = Field(judged, split.first(result.measurements[0].n), threat, batch_size, result.seed, device)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        say(f"clean: judging {len(field.split)} images")
        right, close = _on_clean(field)
        clean = _clean(standing["clean"], right, close) if "clean" in standing else None
        breaks = {}
        for attack in attacks:
            say(f"{attack}: judging its adversarial images")
            found = states(field, attack, Path(images))
            breaks[attack] = _breaks(standing[attack], standing.get("clean", right), found)
        survivors = _survivors(field, {name: standing[name] for name in attacks}, sample, say)
    return Verification(result.model, result.data, result.threat, clean, breaks, survivors)


def _threat(result: Result) -> Threat:
    threat = parse(result.threat)
    if not abs(threat.eps - result.eps) <= TOLERANCE:
        raise ValueError(f"The result contradicts itself: its threat model is {result.threat}, its eps {result.eps}.")
    return threat


def _check(judged: Judged, split: Split, result: Result, verdicts: Mapping[str, Tensor], sample: int) -> None:
    """Refuse what belongs to something else, before anything is computed."""
    if sample < 0:
        raise ValueError(f"The sample of survivors must be 0 or more, got {sample}. The usual number is 64.")
    if (weights := digest(judged.network)) != result.weights:
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
        if flags is None or flags.dtype != torch.uint8 or flags.shape != (m.n,) or (flags > STANDS).any():
            raise ValueError(f"For {m.attack} there must be {m.n} verdicts, uint8, 0 or 1. Give the result's own file.")
        if (count := int(flags.sum())) != m.correct:
            raise ValueError(
                f"By the result {m.correct} of {m.n} images stand under {m.attack}, by its verdicts {count}. "
                "Give the result's own file."
            )


def _on_clean(field: Field) -> tuple[Tensor, Tensor]:
    rows = [judge(field, x, y) for _, x, y in in_order(field.split, field.batch_size, field.device)]
    right, close = (torch.cat(column) for column in zip(*rows, strict=True))
    return right, close


def _clean(standing: Tensor, right: Tensor, close: Tensor) -> Clean:
    differ = right != standing
    return Clean(len(right), int((differ & ~close).sum()), int((differ & close).sum()))


def _breaks(standing: Tensor, right: Tensor, found: Tensor) -> Breaks:
    """What its published images say of an attack's verdicts; an image that was wrong when clean needs none."""
    broken = found[right & ~standing]
    return Breaks(
        counted=len(broken),
        confirmed=int((broken == CONFIRMED).sum()),
        outside=int((broken == OUTSIDE).sum()),
        not_wrong=int((broken == NOT_WRONG).sum()),
        undecided=int((broken == UNDECIDED).sum()),
        missing=int((broken == MISSING).sum()),
        contradicted=int((found[standing] == CONFIRMED).sum()),
    )


def _survivors(field: Field, standing: dict[str, Tensor], sample: int, say: Report) -> Survivors | None:
    """Attack some of those that the strongest attack left, with another loss, smaller steps and other draws."""
    strongest = min(reversed(standing), key=lambda attack: standing[attack].sum(), default=None)
    if strongest is None or not sample or not field.threat.eps or not standing[strongest].any():
        return None
    left = standing[strongest].nonzero()[:, 0]
    order = torch.randperm(len(left), generator=generator(field.seed, "survivors"))
    drawn = torch.zeros_like(standing[strongest])
    drawn[left[order[:sample]]] = True
    say(f"{strongest}: attacking {drawn.sum()} of {len(left)} survivors with PGD-100")
    attack, stands = PGD(100, field.threat.eps / 10, field.threat, "uniform"), drawn
    for loss in (cross_entropy, margin):
        stands = field.standing(attack, loss, among=stands, again=1)
    fell = int((drawn & ~stands).sum())
    return Survivors(strongest, "PGD-100", len(drawn), len(left), int(drawn.sum()), fell)
