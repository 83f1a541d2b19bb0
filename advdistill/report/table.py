"""Results as a table: a row for each model, a column for each attack."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from ..result import Measurement, Result

__all__ = ["distinct", "table"]


def table(results: Sequence[Result]) -> Table:
    """Accuracies in per cent, each with its 95 % interval."""
    attacks = distinct(m.attack for result in results for m in result.measurements)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_caption(results), caption_justify="left")
    drawn.add_column("model", overflow="fold", min_width=8)
    for attack in attacks:
        drawn.add_column(attack, justify="right", min_width=11)
    for result in results:
        cells = {m.attack: _cell(m) for m in result.measurements}
        drawn.add_row(result.model, *(cells.get(attack, "-") for attack in attacks))
    return drawn


def _cell(measured: Measurement) -> str:
    low, high = measured.interval
    return f"{100 * measured.accuracy:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def _caption(results: Sequence[Result]) -> str:
    settings = (
        distinct(f"{r.data} ({r.fingerprint})" for r in results),
        distinct(f"n = {m.n}" for r in results for m in r.measurements),
        distinct(r.threat for r in results),
        distinct(f"seed {r.seed}" for r in results),
    )
    return f"Accuracy in % (95 % interval). {', '.join(' or '.join(values) for values in settings)}."


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
