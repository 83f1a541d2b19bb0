"""`advdistill preflight`."""

import re
from collections.abc import Iterator
from datetime import timedelta

from rich import box
from rich.table import Table

from ..preflight import Claim, Estimate
from ..preflight import preflight as look_ahead
from ..recipe import Recipe
from .console import CONSOLE, say

__all__ = ["preflight"]

UNITS = {"m": 60, "h": 3600, "d": 86400}


def preflight(
    recipe: Recipe,
    claim_clean: float | None,
    claim_robust: float | None,
    budget: str | None,
    price: float | None,
    accelerator: str,
) -> int:
    given = None if claim_clean is None and claim_robust is None else Claim(claim_clean, claim_robust)
    seconds = _seconds(budget) if budget else None
    found = look_ahead(recipe, claim=given, budget=seconds, accelerator=accelerator, report=say)
    for reason in found.refused:
        CONSOLE.print(f"REFUSED. {reason}", markup=False)
    if found.estimate is None:
        return 1
    CONSOLE.print("\n".join(_lines(found.estimate, seconds, price)), markup=False)
    if found.cheaper and seconds is not None:
        CONSOLE.print(_table(found.estimate, found.cheaper, seconds))
    return 0


def _lines(found: Estimate, budget: float | None, price: float | None) -> Iterator[str]:
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


def _table(given: Estimate, cheaper: dict[str, Estimate], budget: float) -> Table:
    columns = ("instead", "a step", "times as fast", "the run", "epochs that fit")
    shown = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for typed, one in cheaper.items():
        ratio = f"{given.step / one.step:.1f}"
        fits = f"all {one.epochs}" if one.total <= budget else str(one.within(budget))
        shown.add_row(typed, f"{one.step:.3f} s", ratio, _span(one.total), fits)
    return shown


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.1f} s"


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text.strip())
    if not found or not float(found[1]):
        raise ValueError(f"A budget is a number and a unit, 90m, 4h or 2d; got {text!r}.")
    return float(found[1]) * UNITS[found[2]]
