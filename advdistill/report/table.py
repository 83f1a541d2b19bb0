"""Results as a table: a row for each model, a column for each attack."""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..results.result import Measurement, Result
from .statistics import Difference, Verdict

__all__ = ["difference_table", "distinct", "line", "table"]

Spread = Mapping[str, tuple[float, float]]  # by attack, mean and standard deviation
COLOURS: dict[Verdict, str] = {"ahead": "green", "behind": "red", "not distinguishable": ""}


def table(results: Sequence[Result], over_seeds: Mapping[str, Spread] | None = None) -> Table:
    """Accuracies in per cent, each with its 95 % interval: beside it, or below where there are many attacks.

    Args:
        over_seeds: more rows, by name.
    """
    attacks = distinct(m.attack for result in results for m in result.measurements)
    layout = "{:.1f} ({:.1f}-{:.1f})" if len(attacks) <= 3 else "{:.1f}\n{:.1f}-{:.1f}"
    drawn = _empty(attacks, _caption(results) + (" Over seeds: mean ± standard deviation." if over_seeds else ""))
    for result in results:
        cells = {m.attack: _cell(m, layout) for m in result.measurements}
        drawn.add_row(escape(result.model), *(cells.get(attack, "-") for attack in attacks))
    drawn.add_section()
    for name, summed in (over_seeds or {}).items():
        cells = {attack: f"{100 * mean:.1f} ± {100 * deviation:.1f}" for attack, (mean, deviation) in summed.items()}
        drawn.add_row(escape(name), *(cells.get(attack, "-") for attack in attacks))
    return drawn


def difference_table(rows: Iterable[tuple[str, Mapping[str, Difference]]], caption: str) -> Table:
    """Points by name and attack, with "ahead", "behind" or, where the models are not distinguishable, "undecided"."""
    rows = [(name, differences) for name, differences in rows if differences]
    attacks = distinct(attack for _, differences in rows for attack in differences)
    layout = "{:+.1f} {}" if len(attacks) <= 3 else "{:+.1f}\n{}"
    drawn = _empty(attacks, caption)
    for name, differences in rows:
        cells = {attack: _verdict(difference, layout) for attack, difference in differences.items()}
        drawn.add_row(escape(name), *(cells.get(attack, "-") for attack in attacks))
    return drawn


def line(what: str, difference: Difference) -> Text:
    """A difference in words: points, their 95 % interval, the verdict and the test."""
    points, low, high = (100 * value for value in (difference.value, *difference.interval))
    test = difference.test if difference.test == "McNemar" else f"unpaired, {difference.test}"
    return Text.assemble(
        f"{what}: {points:+.1f} points ({low:.1f} to {high:.1f}), ",
        (difference.verdict, COLOURS[difference.verdict]),
        f" ({test} {_p(difference.p)}, {difference.n} images)",
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _empty(attacks: Iterable[str], caption: str) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    drawn.caption, drawn.caption_justify = escape(caption), "left"
    drawn.add_column("model", overflow="fold", min_width=12)
    for attack in attacks:
        drawn.add_column(escape(_broken(attack)), justify="right", overflow="fold", min_width=9, max_width=16)
    return drawn


def _broken(name: str, width: int = 10) -> str:
    """A long name in two lines."""
    head, hyphen, tail = name.rpartition("-")
    return f"{head}{hyphen}\n{tail}" if len(name) > width else name


def _cell(measured: Measurement, layout: str) -> str:
    return layout.format(*(100 * value for value in (measured.accuracy, *measured.interval)))


def _verdict(difference: Difference, layout: str) -> Text:
    word = "undecided" if difference.verdict == "not distinguishable" else difference.verdict
    return Text(layout.format(100 * difference.value, word), style=COLOURS[difference.verdict])


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
