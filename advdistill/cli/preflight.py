"""`advdistill preflight`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from .console import CONSOLE, columns, say, tell
from .early import check_teachers, seconds
from .fields import ChosenRecipe, parse
from .names import values

if TYPE_CHECKING:
    from ..preflight import Estimate
    from ..recipe import Recipe

__all__ = ["Options", "Preflight", "preflight", "run_preflight"]


@dataclass(frozen=True)
class Preflight(ChosenRecipe):
    """Before training: check data and teachers, and estimate the time. Exit code 1 if a check fails."""


@dataclass(frozen=True)
class Options:
    """What the user expects of the training."""

    claim_clean: float | None = None
    """Claimed clean accuracy of the robust teacher, a fraction; without claims, RobustBench's if it lists the name."""
    claim_robust: float | None = None
    """Claimed robust accuracy of the robust teacher, a fraction."""
    budget: str | None = None
    """Time available for the run, e.g. 90m, 5min, 4h, 1h30m or 2d; if it is too short, cheaper runs are timed."""
    price: float | None = None
    """Price of one hour of this machine."""
    pictures: Path | None = None
    """PNG file to write, with augmented training images."""
    accelerator: str = "auto"
    """Accelerator for Lightning Fabric: cpu, cuda, mps or auto."""


def run_preflight(argv: Sequence[str]) -> int:
    for budget in values(argv, "--budget"):
        seconds(budget)
    return preflight(*parse(Preflight, lambda choice: Options(), argv))


def preflight(recipe: "Recipe", options: Options) -> int:
    """Evaluate the teachers, time some training steps, and return the exit code."""
    check_teachers(recipe)
    budget = seconds(options.budget) if options.budget else None

    from ..preflight import Claim
    from ..preflight import preflight as check

    claimed = options.claim_clean, options.claim_robust
    claim = None if claimed == (None, None) else Claim(*claimed)
    found = check(recipe, claim=claim, budget=budget, accelerator=options.accelerator, report=say,
                  pictures=options.pictures)  # fmt: skip
    for reason in found.refused:
        tell(f"REFUSED. {reason}")
    if found.estimate is None:
        return 1
    tell("\n".join(_lines(found.estimate, budget, options.price)))
    if found.cheaper and budget is not None:
        CONSOLE.print(_table(found.estimate, found.cheaper, budget))
    return 0


def _lines(found: "Estimate", budget: float | None, price: float | None) -> Iterator[str]:
    yield f"a step: {found.step:.3f} s, {found.memory / 2**20:.0f} MiB at most"
    yield f"an epoch: {_span(found.epoch)}, {found.steps} steps and {found.validation:.1f} s of validation"
    cost = f", {found.total / 3600 * price:.2f} at {price:g} an hour" if price else ""
    yield f"the run: {_span(found.total)} for {found.epochs} epochs on this machine{cost}"
    if budget is None:
        return
    if found.total <= budget:
        yield f"It fits into {_span(budget)}."
    elif epochs := found.within(budget):
        yield f"It does not fit into {_span(budget)}; --epochs {epochs} does."
    else:
        yield f"Not one epoch fits into {_span(budget)}."


def _table(given: "Estimate", cheaper: dict[str, "Estimate"], budget: float) -> Table:
    shown = columns("alternative", "a step", "times as fast", "the run", "epochs that fit")
    for typed, one in cheaper.items():
        ratio = f"{given.step / one.step:.1f}"
        fits = f"all {one.epochs}" if one.total <= budget else str(one.within(budget))
        shown.add_row(typed, f"{one.step:.3f} s", ratio, _span(one.total), fits)
    return shown


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"
