"""`advdistill status`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from tyro.conf import Positional

from .console import CONSOLE, Terminal, columns, tell
from .early import check_run

if TYPE_CHECKING:
    from ..train.status import Status as Found

__all__ = ["Status"]


@dataclass(frozen=True)
class Status:
    """Show the progress of runs: epoch and step, the time left, and what is wrong."""

    runs: Positional[tuple[Path, ...]]
    """Run folders."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        if not self.runs:
            raise ValueError("No run folder given. Name run folders: advdistill status runs/*")
        for folder in self.runs:
            check_run(folder)

        from ..run import Run
        from ..train.status import status

        found = [status(Run(folder)) for folder in self.runs]
        if self.json:
            print(json.dumps([asdict(one) | {"done": one.done} for one in found], indent=2))
            return 0
        shown = _table(found)
        whole = Measurement.get(CONSOLE, CONSOLE.options.update(max_width=1000), shown).maximum
        Terminal(width=max(CONSOLE.width, whole), highlight=False).print(shown)  # never truncate a number
        for one in found:
            if said := " ".join(filter(None, [one.why, *(f"{sentence}." for sentence in one.health)])):
                tell(f"{one.run}: {said}", wrap=False)
        return 0


def _table(found: Sequence["Found"]) -> Table:
    shown = columns()
    for name in ("run", "state", "epoch", "step", "done", "left", "loss", "clean", "robust", "best (epoch)"):
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
