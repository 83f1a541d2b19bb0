"""A study's findings as text: a table in the terminal, Markdown, CSV and LaTeX."""

import csv as csv_format
import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from ..report.formats import latex_notes, latex_table, latex_text, markdown_table, markdown_text
from ..report.statistics import LEVEL, Difference
from .findings import Effect, Findings

__all__ = ["captions", "csv", "effect_head", "effect_rows", "group_head", "group_rows", "latex", "markdown", "shown"]


def group_head(found: Findings) -> list[str]:
    """Return the names of the columns of `group_rows`."""
    axes = list(found.groups[0].levels) if found.groups else []
    return [*axes, "n", *found.attacks, f"against the baseline ({found.robust})", "seconds", "steps", "image passes"]


def group_rows(found: Findings) -> Iterator[list[str]]:
    """Yield a row for each group: levels, number of seeds, mean and std by attack in %, difference, cost."""
    for group in found.groups:
        figures = (_figure(*group.figure(attack)) for attack in found.attacks)
        cost = (f"{group.cost(name):,.0f}" for name in ("seconds", "steps", "image_passes"))
        yield [*group.levels.values(), str(len(group.results)), *figures, _points(group.against), *cost]


def effect_head(found: Findings) -> list[str]:
    """Return the names of the columns of `effect_rows`."""
    return ["axis", "level", "against", "within", "pairs", "clean, points", f"{found.robust}, points", "p (Holm)"]


def effect_rows(found: Findings) -> Iterator[list[str]]:
    """Yield a row for each level of an axis: its effect in points, with 95 % intervals."""
    for one in found.effects:
        yield [
            one.axis, one.level, one.reference, one.within or "all", _pairs(one), _points(one.clean, p=False),
            _points(one.robust, p=False), _p(one.robust.p),
        ]  # fmt: skip


def captions(found: Findings) -> list[str]:
    """Return sentences below the tables: what was measured and compared, and the caveats of the figures."""
    result = next(iter(found.groups[0].results.values())).result
    settings = "; ".join(filter(None, (result[attack].settings for attack in found.attacks)))
    split = f"{result.data} ({result.fingerprint})"
    if found.held_out:
        split = f"{result.data}: the training images that each run held out for validation, other ones for each seed"
    base = ", ".join(found.study.reference(axis) for axis in found.groups[0].levels)
    compared = (
        f"Baseline: {base}. Points with their 95 % interval and p, corrected by Holm, of Student's paired t test over "
        "cells with the same seed; with one seed, of McNemar's test over images. "
        f"Below p = {LEVEL} the difference is called ahead or behind."
    )
    said = [
        f"{split}, {result.threat}, {result[found.attacks[0]].n} images; {found.done} of {found.total} cells.",
        *([f"Attacks: {settings}."] if settings else []),
        "Accuracy in %: mean ± standard deviation over n seeds. Seconds of training, optimiser steps and forward "
        "passes of an image through any network: the mean of a run.",
        *([compared] if base else []),  # a single combination is compared with nothing
    ]
    return [*said, *found.notes, *(f"{cell} failed: {why}" for cell, why in found.failed.items())]


def shown(found: Findings) -> Lines:
    """Return the means and the effect of each level for a terminal; the files have everything."""
    failures = [Text(f"{cell} failed: {why}", style="red") for cell, why in found.failed.items()]
    if not found.groups:
        return Lines(Text(f"0 of {found.total} cells are done."), *failures)
    means = (
        [group.name, str(len(group.results)), *(_figure(*group.figure(attack)) for attack in found.attacks)]
        for group in found.groups
    )
    parts = [_rich([", ".join(found.groups[0].levels) or "cell", "n", *found.attacks], means)]
    if found.effects:
        effects = (
            [f"{one.level} against {one.reference}" + (f", {one.within}" if one.within else ""),
             _points(one.robust, p=False), _p(one.robust.p)]
            for one in found.effects
        )  # fmt: skip
        parts.append(_rich(["effect", f"{found.robust}, points", "p (Holm)"], effects))
    return Lines(*parts, *(Text(line, style="italic dim") for line in captions(found)))


def markdown(found: Findings) -> str:
    """Return the tables as Markdown."""
    first, *effects = (markdown_table([list(map(markdown_text, cells)) for cells in rows]) for rows in _tables(found))
    said = ["What each level brings, over all pairs of cells that differ in nothing else:"] if effects else []
    notes = map(markdown_text, captions(found))
    title = f"# Study {found.study.name}{', held-out images' if found.held_out else ''}"
    return "\n\n".join([title, first, *said, *effects, *notes]) + "\n"


def latex(found: Findings) -> str:
    """Return the tables as LaTeX, for the package booktabs."""
    tables = ([list(map(latex_text, cells)) for cells in rows] for rows in _tables(found))
    return latex_notes(captions(found)) + "".join(latex_table(rows, f"l{'r' * (len(rows[0]) - 1)}") for rows in tables)


def _tables(found: Findings) -> Iterator[list[list[str]]]:
    """Yield each table as a list of its head and its rows."""
    yield [group_head(found), *group_rows(found)]
    if found.effects:
        yield [effect_head(found), *effect_rows(found)]


def csv(found: Findings) -> str:
    """Return CSV with a row for each cell and attack, in fractions, and everything that other statistics need."""
    file = io.StringIO()
    writer = csv_format.writer(file, lineterminator="\n")
    axes = list(found.groups[0].levels)
    measured = ["n", "correct", "accuracy", "low", "high"]
    writer.writerow([*axes, "seed", "attack", *measured, "seconds", "steps", "image_passes"])
    for group in found.groups:
        for seed, run in group.results.items():
            cost = group.costs[seed]
            spent = [f"{cost['seconds']:.1f}", cost["steps"], cost["image_passes"]]
            for attack in found.attacks:
                m = run.result[attack]
                figures = (f"{value:.6f}" for value in (m.accuracy, *m.interval))
                writer.writerow([*group.levels.values(), seed, attack, m.n, m.correct, *figures, *spent])
    return file.getvalue()


def _figure(mean: float, deviation: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _points(difference: Difference | None, p: bool = True) -> str:
    if difference is None:
        return "–"
    low, high = (100 * end for end in difference.interval)
    text = f"{100 * difference.value:+.1f} ({low:.1f} to {high:.1f})"
    if not p:
        return text
    verdict = "undecided" if difference.verdict == "not distinguishable" else difference.verdict
    return f"{text} {verdict}, {_p(difference.p, 'p ')}"


def _p(p: float, before: str = "") -> str:
    sign = "= " if before else ""
    return f"{before}< 0.001" if p < 0.001 else f"{before}{sign}{p:.3f}"


def _pairs(effect: Effect) -> str:
    return str(effect.robust.n) if effect.robust.test == "paired t" else f"1 ({effect.robust.n} images)"


def _rich(head: Sequence[str], rows: Iterator[list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(head):
        table.add_column(name, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
