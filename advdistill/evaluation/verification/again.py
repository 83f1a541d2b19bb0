"""Checks of a result that need no images of it: compare its facts, and run its attacks again on a sample."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..._internal.reading import printable
from ..._internal.rng import generator
from ...attacks.autoattack import BY
from ...attacks.base import TOLERANCE
from ...attacks.suites import ATTACKS, Clean
from ...results.consistency import same_fact
from ...results.result import Result
from ...threat import Threat
from ..context import Context
from ..networks import ITSELF
from ..verdicts import CORRECT
from .findings import Again

__all__ = ["contradictions", "run_again"]


def contradictions(
    result: Result, verdicts: Mapping[str, Tensor], facts: Mapping[str, str], threat: Threat, classes: int
) -> Iterator[str]:
    """Yield a sentence for each fact of a result that contradicts another fact or the metadata of its verdicts."""
    for name in ("weights", "fingerprint", "threat", "seed"):
        here, there = str(getattr(result, name)), facts.get(name)
        if there is not None and not same_fact(name, there, here):
            yield f"its verdicts are of {name} {printable(there)}, the result of {name} {printable(here)}"
    counts = {m.attack: m.correct for m in result.measurements}
    for m in result.measurements:
        if m.correct > counts.get("clean", m.n):
            yield f"{m.attack}: {m.correct} images are robust, and only {counts['clean']} are classified correctly"
        yield from _settings(m.attack, m.settings, threat, classes)
    if "autoattack" in counts:
        yield from _autoattack(verdicts, threat)


def _settings(attack: str, settings: str, threat: Threat, classes: int) -> Iterator[str]:
    """Yield a sentence for each contradiction between an attack's name and its settings."""
    known = {name: make(threat).describe(classes) for name, make in ATTACKS.items()}
    alike = attack.lower().replace("_", "-")
    if attack not in known and alike in known:
        yield f"{printable(attack)} is not the name of an attack; {alike} is"
    wanted, ours = known.get(attack), {text: name for name, text in known.items() if text}
    if wanted is not None and settings != wanted and not settings.startswith(f"{wanted}, "):
        yield f"{attack}: its settings are {printable(settings)!r}, those of {attack} are {wanted!r}"
    if wanted is None and settings in ours:
        yield f"{printable(attack)}: its settings {settings!r} are those of {ours[settings]}"


def _autoattack(verdicts: Mapping[str, Tensor], threat: Threat) -> Iterator[str]:
    """Yield a sentence for each contradiction in AutoAttack's notes: what broke an image, and the distance of x'."""
    correct, by, distance = (verdicts.get(name) for name in ("autoattack", "autoattack.by", "autoattack.distance"))
    if correct is None or by is None or distance is None or by.shape != correct.shape or distance.shape != by.shape:
        yield "autoattack: its verdicts do not say which part of AutoAttack broke each image"
        return
    left, broken = correct == CORRECT, (by != BY["none"]) & (by != BY["clean"])
    if not torch.equal(by == BY["none"], left) or int(by.max()) > max(BY.values()):
        yield "autoattack: the parts that broke images contradict the verdicts"
    if not ((distance > 0) == broken).all() or not (distance <= threat.eps + TOLERANCE).all():
        yield f"autoattack: distances of x' are not those of broken images within {threat}"


def run_again(context: Context, attack: str, correct: Tensor, sample: int, draw: int) -> Again | str:
    """Run an attack of a result again on some images, with the result's seed.

    Args:
        correct: the attack's verdicts `[n]`, booleans; images that are misclassified when clean are False.
        sample: number of images, half of them robust according to the verdicts.
        draw: seed for choosing the images.

    Returns:
        How many verdicts differ, or why the attack was not run.
    """
    if attack not in ATTACKS:
        return f"{printable(attack)}: not run again, it is not an attack of advdistill."
    one = ATTACKS[attack](context.threat)
    if one.transferred:
        return f"{attack}: not run again, its surrogate is needed."
    try:
        one.check()
    except ImportError as error:
        return f"{attack}: not run again: {error}"
    right = context.correct(Clean())
    robust = _drawn(right & correct, (sample + 1) // 2, draw, attack)
    broken = _drawn(right & ~correct, sample - int(robust.sum()), draw, attack)
    context.report(f"{attack}: running it again on {int(robust.sum() + broken.sum())} images")
    left = replace(context, attacked=ITSELF).correct(one, among=robust | broken)
    return Again(int(robust.sum()), int((robust & ~left).sum()), int(broken.sum()), int((broken & left).sum()))


def _drawn(flags: Tensor, most: int, draw: int, attack: str) -> Tensor:
    places = flags.nonzero()[:, 0]
    order = torch.randperm(len(places), generator=generator(draw, "again", attack))
    drawn = torch.zeros_like(flags)
    drawn[places[order[:most]]] = True
    return drawn

