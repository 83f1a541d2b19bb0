"""A minute before days are spent: are data and teachers what they should be, and how long will the run take?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..data import Split
from ..data.loaded import Loaded
from ..models.teachers import find
from ..recipe import Recipe
from ..threat import pixels
from ..train.setup import Placement, assemble
from ..train.teacher_check import CHECKED, in_turn, inspect
from ..train.trainer import Parts
from .estimate import Estimate, estimate, proposals
from .suspicion import Claim, against, order, statistics

__all__ = ["Claim", "Estimate", "Preflight", "preflight"]

LOOKED_AT = 300  # held-out images, for each of the usual statistics; more where there are many classes


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
    placement = Placement(accelerator)
    parts = assemble(recipe, placement=placement)
    report(_line(parts.train, parts.validation))
    found.refused += _suspicions(parts)
    if not found.refused:
        found.refused += _measured(parts, recipe, claim or _published(recipe), report)
    if found.refused:
        return found
    found.estimate = _timed(recipe, parts)
    assert isinstance(parts.data, Split)  # a recipe alone has no loader
    if budget is not None and found.estimate.total > budget:
        for typed, cheaper in proposals(recipe):
            try:
                found.cheaper[typed] = _timed(cheaper, assemble(cheaper, placement=placement, train=parts.data))
            except ValueError:  # teacher_every, where the method's attack asks no teacher
                continue
    return found


def _line(train: Split | Loaded, validation: Split) -> str:
    counts = train.labels.bincount(minlength=train.num_classes)
    form = " x ".join(map(str, train.shape))
    balance = f"{counts.min()} to {counts.max()} images of a class"
    return f"data: {len(train)} images {form} to train on, {balance}; {len(validation)} held out ({train.name})"


def _suspicions(parts: Parts) -> Iterator[str]:
    device, held_out = parts.fabric.device, parts.validation
    some, more = (in_turn(held_out, n) for n in (LOOKED_AT, max(LOOKED_AT, 20 * held_out.num_classes)))
    for role, network in parts.distiller.teachers.items():
        if role not in CHECKED:
            continue
        network.to(device)
        if said := statistics(network, some, device) or order(network, more, device):
            yield f"The {role} teacher: {said}"


def _measured(parts: Parts, recipe: Recipe, claim: Claim, report: Callable[[str], None]) -> list[str]:
    method, device, threat = parts.distiller.method, parts.fabric.device, recipe.attack.threat
    try:
        clean, attacked = inspect(parts.distiller.teachers, parts.validation, threat, method, device, report)
    except ValueError as error:
        return [str(error)]
    return list(against(claim, clean["robust"].tolist(), attacked["robust"].tolist())) if "robust" in clean else []


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
