"""Results as a table: a row for each model, a column for each attack."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from ..result import Measurement, Result

__all__ = ["distinct", "table"]


def table(results: Sequence[Result]) -> Table:
    """Accuracies in per cent, each with its 95 % interval: beside it, or below where there are many attacks."""
    attacks = distinct(m.attack for result in results for m in result.measurements)
    layout = "{:.1f} ({:.1f}-{:.1f})" if len(attacks) <= 3 else "{:.1f}\n{:.1f}-{:.1f}"
    drawn = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    drawn.caption, drawn.caption_justify = _caption(results), "left"
    drawn.add_column("model", overflow="fold", min_width=12)
    for attack in attacks:
        drawn.add_column(_broken(attack), justify="right", overflow="fold", min_width=9, max_width=16)
    for result in results:
        cells = {m.attack: _cell(m, layout) for m in result.measurements}
        drawn.add_row(result.model, *(cells.get(attack, "-") for attack in attacks))
    return drawn


def _broken(name: str, width: int = 10) -> str:
    """A long name in two lines."""
    head, hyphen, tail = name.rpartition("-")
    return f"{head}{hyphen}\n{tail}" if len(name) > width else name


def _cell(measured: Measurement, layout: str) -> str:
    return layout.format(*(100 * value for value in (measured.accuracy, *measured.interval)))


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
