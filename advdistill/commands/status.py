"""`advdistill status`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from ..run import Run
from ..train.status import Status
from ..train.status import status as status_of
from .console import CONSOLE, Terminal

__all__ = ["status"]


def status(runs: Sequence[Path], as_json: bool) -> int:
    """How runs are doing, a row for each, and what is wrong below.

    Raises:
        ValueError: none was named.
        FileNotFoundError: a folder is not a run.
    """
    if not runs:
        raise ValueError("No run to look at. Name run folders: advdistill status runs/*")
    found = [status_of(Run(folder)) for folder in runs]
    if as_json:
        print(json.dumps([asdict(one) | {"done": one.done} for one in found], indent=2))
        return 0
    shown = _table(found)
    whole = Measurement.get(CONSOLE, CONSOLE.options.update(max_width=1000), shown).maximum
    Terminal(width=max(CONSOLE.width, whole), highlight=False).print(shown)  # figures that are cut say nothing
    for one in found:
        if said := " ".join(filter(None, [one.why, *(f"{sentence}." for sentence in one.health)])):
            CONSOLE.print(f"{one.run}: {said}", soft_wrap=True, markup=False)
    return 0


def _table(found: Sequence[Status]) -> Table:
    columns = ["run", "state", "epoch", "step", "done", "left", "loss", "clean", "robust", "best (epoch)"]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=True)
    for one in found:
        left = str(timedelta(seconds=round(one.eta))) if one.eta is not None else ""
        best = f"{_percent(one.best['robust'])} ({one.best['epoch']})" if one.best else ""
        shown.add_row(
            escape(one.run), one.state, f"{one.epoch}/{one.epochs}", f"{one.step}/{one.steps or '?'}",
            f"{one.done:.0%}", left, f"{one.last['loss']:.4g}" if one.last else "", _percent(one.last.get("clean")),
            _percent(one.last.get("robust")), best,
        )  # fmt: skip
    return shown


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
