"""A minute before days are spent: are data and teachers what they should be, and how long will the run take?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..data import Split
from ..distiller import in_mode
from ..evaluation.accuracy import correct
from ..evaluation.suites import pgd
from ..models.teachers import find
from ..recipe import Recipe
from ..threat import pixels
from ..train.assembly import Parts, assemble
from ..train.teachers import in_turn, inspect
from .estimate import Estimate, estimate, proposals
from .suspicion import Claim, against, order, statistics

__all__ = ["Claim", "Preflight", "preflight"]

LOOKED_AT, ATTACKED = 1000, 100  # held-out images


@dataclass
class Preflight:
    """What was found.

    Attributes:
        refused: a sentence for each reason not to train so; empty if there is none.
        estimate: of the recipe as it is; `None` where it was refused.
        cheaper: of other runs, by what to type for them; made where the recipe does not fit into the budget.
    """

    refused: list[str] = field(default_factory=list)
    estimate: Estimate | None = None
    cheaper: dict[str, Estimate] = field(default_factory=dict)


def preflight(
    recipe: Recipe,
    *,
    claim: Claim | None = None,
    budget: float | None = None,
    accelerator: str = "auto",
    report: Callable[[str], None] = print,
) -> Preflight:
    """Look at data and teachers, and time a few steps; no file is written.

    Args:
        claim: what the robust teacher is said to reach; that of a RobustBench name unless given.
        budget: seconds for the run.
        report: receives lines as they are found.

    Raises:
        ValueError: something in the recipe does not fit.
    """
    found = Preflight()
    parts = assemble(recipe, accelerator=accelerator)
    report(_line(parts.train, parts.validation))
    looked_at = in_turn(parts.validation, LOOKED_AT)
    found.refused += _suspicions(parts, recipe, looked_at, claim or _published(recipe))
    if not found.refused:
        try:
            inspect(
                parts.distiller.teachers, parts.validation, recipe.attack.threat, parts.distiller.method,
                parts.fabric.device, report,
            )  # fmt: skip
        except ValueError as error:
            found.refused.append(str(error))
    if found.refused:
        return found
    found.estimate = _timed(recipe, parts)
    if budget is not None and found.estimate.total > budget:
        for typed, cheaper in proposals(recipe):
            try:
                found.cheaper[typed] = _timed(cheaper, assemble(cheaper, accelerator=accelerator))
            except ValueError:  # teacher_every, where the method's attack asks no teacher
                continue
    return found


def _line(train: Split, validation: Split) -> str:
    counts = train.labels.bincount(minlength=train.num_classes)
    form = " x ".join(map(str, train.shape))
    balance = f"{counts.min()} to {counts.max()} images of a class"
    return f"data: {len(train)} images {form} to train on, {balance}; {len(validation)} held out ({train.name})"


def _suspicions(parts: Parts, recipe: Recipe, split: Split, claim: Claim) -> Iterator[str]:
    device = parts.fabric.device
    for role, network in parts.distiller.teachers.items():
        if role == "peer":
            continue
        network.to(device)
        for suspicion in (statistics, order):
            if said := suspicion(network, split, device):
                yield f"The {role} teacher: {said}"
                break
    if robust := parts.distiller.teachers.get("robust"):
        some = split.first(min(ATTACKED, len(split)))
        with in_mode(robust, train=False):
            clean = correct(robust, split, device=device)
            attacked = correct(robust, some, pgd(10, recipe.attack.threat), batch_size=64, device=device)
        yield from against(claim, clean.tolist(), attacked.tolist())


def _published(recipe: Recipe) -> Claim:
    """What RobustBench says of a teacher named so, as far as it is about the recipe's data and eps."""
    scheme, _, name = (recipe.teacher or "").partition("?")[0].partition(":")
    if scheme != "robustbench":
        return Claim()
    known = find(name)
    if known.dataset != recipe.data.name:
        return Claim()
    same = recipe.attack.threat.name == "Linf" and abs(pixels(known.eps) - recipe.attack.threat.eps) < 1e-6
    return Claim(known.clean / 100, known.autoattack / 100 if same else None)


def _timed(recipe: Recipe, parts: Parts) -> Estimate:
    return estimate(parts.fabric, recipe, parts.student, parts.distiller, parts.train, parts.validation)
