"""Checks before a long run: are data and teachers what they should be, and how long will training take?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..data import Split
from ..data.loaded import Loaded
from ..data.with_extra import WithExtra
from ..models.teachers import find
from ..recipe import Recipe
from ..threat import pixels
from ..train.given import near_test
from ..train.parts import Parts
from ..train.setup import Placement, assemble
from ..train.teacher_check import CHECKED, in_turn, inspect
from .estimate import Estimate, estimate, proposals
from .pictures import draw_augmented
from .teacher import Claim, refuted_claims, wrong_class_order, wrong_normalisation

__all__ = ["Claim", "Estimate", "Preflight", "preflight"]

INSPECTED = 300  # held-out images; the check of the class order uses 20 per class if that is more


@dataclass
class Preflight:
    """The outcome of the checks.

    Attributes:
        refused: a sentence for each reason not to train with this recipe; empty if there is none.
        estimate: time and memory of the recipe as it is; `None` if it was refused.
        cheaper: estimates of cheaper runs, by their command-line options; filled if the run exceeds the budget.
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
    pictures: Path | str | None = None,
) -> Preflight:
    """Check data and teachers, and time a few steps; no file is written except `pictures`.

    Args:
        claim: the robust teacher's claimed accuracies; by default those that RobustBench lists for its name.
        budget: seconds that the run may take.
        report: receives lines of progress.
        pictures: path of a PNG to write, of augmented training images.

    Raises:
        ValueError: something in the recipe does not fit.
    """
    found = Preflight()
    placement = Placement(accelerator)
    parts = assemble(recipe, placement=placement)
    report(_data_line(parts.train, parts.validation))
    if pictures is not None:
        draw_augmented(recipe, parts.train, pictures)
        report(f"pictures: {pictures}")
    if isinstance(parts.train, WithExtra):
        report(f"extra: {parts.train}")
        if similar := near_test(recipe, parts.train):
            report(f"WARNING. {similar}")
    found.refused += _teacher_faults(parts)
    if not found.refused:
        found.refused += _measured_faults(parts, recipe, claim or _published_claim(recipe), report)
    if found.refused:
        return found
    found.estimate = _estimate_of(recipe, parts)
    assert isinstance(parts.data, Split)  # a recipe alone has no loader
    if budget is not None and found.estimate.total > budget:
        for typed, cheaper in proposals(recipe):
            try:
                found.cheaper[typed] = _estimate_of(cheaper, assemble(cheaper, placement=placement, train=parts.data))
            except ValueError:  # --teacher-every, if the method's attack does not query the teacher
                continue
    return found


def _data_line(train: Split | Loaded, validation: Split) -> str:
    counts = train.labels.bincount(minlength=train.num_classes)
    form = " x ".join(map(str, train.shape))
    balance = f"{counts.min()} to {counts.max()} images of a class"
    return f"data: {len(train)} images {form} to train on, {balance}; {len(validation)} held out ({train.name})"


def _teacher_faults(parts: Parts) -> Iterator[str]:
    device, held_out = parts.fabric.device, parts.validation
    some, more = (in_turn(held_out, n) for n in (INSPECTED, max(INSPECTED, 20 * held_out.num_classes)))
    for role, network in parts.distiller.teachers.items():
        if role not in CHECKED:
            continue
        network.to(device)
        if said := wrong_normalisation(network, some, device) or wrong_class_order(network, more, device):
            yield f"The {role} teacher: {said}"


def _measured_faults(parts: Parts, recipe: Recipe, claim: Claim, report: Callable[[str], None]) -> list[str]:
    method, device, threat = parts.distiller.method, parts.fabric.device, recipe.attack.threat
    try:
        clean, attacked = inspect(parts.distiller.teachers, parts.validation, threat, method, device, report)
    except ValueError as error:
        return [str(error)]
    if "robust" not in clean:
        return []
    return list(refuted_claims(claim, clean["robust"].tolist(), attacked["robust"].tolist()))


def _published_claim(recipe: Recipe) -> Claim:
    """Return the teacher's accuracies on RobustBench: clean if on the recipe's data, robust if also at its eps."""
    scheme, _, name = (recipe.teacher or "").partition("?")[0].partition(":")
    if scheme != "robustbench":
        return Claim()
    known = find(name)
    if known.dataset != recipe.data.name:
        return Claim()
    same = recipe.attack.threat.name == "Linf" and abs(pixels(known.eps) - recipe.attack.threat.eps) < 1e-6
    return Claim(known.clean / 100, known.autoattack / 100 if same else None)


def _estimate_of(recipe: Recipe, parts: Parts) -> Estimate:
    return estimate(parts.fabric, recipe, parts.student, parts.distiller, parts.train, parts.validation)
