"""A table of several results: accuracies, comparisons with the first run, and what makes results incomparable."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from ..results.consistency import above_clean
from ..results.result import Measurement, Result
from .columns import Columns
from .loading import LoadedResult, load_result, unverifiable_figures
from .statistics import LEVEL, Difference, Verdict, holm, over_seeds, paired, unpaired

__all__ = [
    "against_first", "compare", "distinct", "mean_over_seeds", "mismatches", "models_without_verdicts", "remarks",
    "table", "unverified",
]  # fmt: skip

MOST_LINES = 6  # with more comparisons than this, a table replaces a line for each
Loaded = TypeVar("Loaded", bound=LoadedResult)
Spread = Mapping[str, tuple[float, float]]  # by attack, mean and standard deviation
COLOURS: dict[Verdict, str] = {"ahead": "green", "behind": "red", "not distinguishable": ""}


def compare(paths: Sequence[Path | str]) -> Group:
    """Return run folders or result files as one table, each row named by its path, with comparisons and warnings below.

    A run is compared with the first one if both have the same images, threat model and attack settings. Runs whose
    recipes differ only in the seed are summarised by mean and standard deviation.

    Raises:
        FileNotFoundError: a folder or file has no result.
        ValueError: no path is given, a file is damaged or not a result, or the verdicts contradict the result.
    """
    if not paths:
        raise ValueError("Nothing to compare. Name run folders or result files: advdistill compare runs/*")
    runs = [load_result(path) for path in paths]
    results = [run.result for run in runs]
    warnings = (Text(line, style="yellow") for line in [*mismatches(results), *remarks(results)])
    of_figures = (Text(line, style="yellow") for line in unverified(runs))
    return Group(table(results, dict(mean_over_seeds(runs))), *of_figures, *_comparisons(runs), *warnings)


def mismatches(results: Sequence[Result]) -> list[str]:
    """Return a sentence for each setting that differs and so makes the results incomparable."""
    settings = {
        "number of images": distinct(str(m.n) for r in results for m in r.measurements),
        "data": distinct(f"{r.data} ({r.fingerprint})" for r in results),
        "threat model": distinct(r.threat for r in results),
    }
    if all(len(values) == 1 for values in settings.values()):  # an attack's settings include the threat model
        for attack in distinct(m.attack for r in results for m in r.measurements):
            alike = distinct(m.settings for r in results for m in r.measurements if m.attack == attack)
            settings[f"attack {attack}"] = alike
    return [
        f"These results are not comparable: the {what} differs ({', '.join(values)})."
        for what, values in settings.items()
        if len(values) > 1
    ]


def remarks(results: Sequence[Result]) -> list[str]:
    """Return the caveats on single measurements, each preceded by its model and attack."""
    return distinct(f"{r.model}, {m.attack}: {m.remark}." for r in results for m in r.measurements if m.remark)


def unverified(runs: Sequence[LoadedResult]) -> list[str]:
    """Return sentences on results whose figures cannot be checked, or cannot be true."""
    said = []
    for run in runs:
        if missing := unverifiable_figures(run.result, run.verdicts):
            said.append(f"{run.result.model}: {missing}.")
        if attacks := above_clean(run.result.measurements):
            said.append(
                f"{run.result.model}, {', '.join(attacks)}: robust accuracy is higher than the clean accuracy and "
                "therefore impossible: was the file edited by hand, or measured by version 0.1? Evaluate again."
            )
    return distinct(said)


def against_first(runs: Sequence[Loaded]) -> list[tuple[Loaded, str, Difference]]:
    """Compare each run with the first, by attack that both ran with equal settings; p values are Holm-corrected."""
    first, *others = runs
    pairs = [(run, attack) for run in others for attack in _common_attacks([first.result, run.result])]
    found = [_difference(run, first, attack) for run, attack in pairs]
    corrected = holm([difference.p for difference in found])
    return [(*pair, replace(d, p=p)) for pair, d, p in zip(pairs, found, corrected, strict=True)]


def models_without_verdicts(
    runs: Sequence[LoadedResult], found: Sequence[tuple[LoadedResult, str, Difference]]
) -> list[str]:
    """Return the models whose missing per-image verdicts make some of these comparisons unpaired."""
    attacks = {attack for _, attack, difference in found if difference.test == "Fisher"}
    return distinct(r.result.model for r in runs if attacks & (_by_attack(r.result).keys() - r.verdicts.keys()))


def mean_over_seeds(runs: Sequence[LoadedResult]) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Yield a name, and mean and standard deviation by attack, for each group of runs that differ only in the seed."""
    groups: dict[str, dict[object, Result]] = {}
    for run in runs:
        if run.recipe is not None:
            recipe = json.dumps({k: v for k, v in run.recipe.items() if k != "seed"}, sort_keys=True, default=str)
            groups.setdefault(recipe, {}).setdefault(str(run.recipe.get("seed")), run.result)
    for results in (list(group.values()) for group in groups.values() if len(group) > 1):
        figures = {attack: over_seeds([r[attack].accuracy for r in results]) for attack in _common_attacks(results)}
        if figures:
            yield f"{results[0].model}, {len(results)} seeds", figures


def table(results: Sequence[Result], over_seeds: Mapping[str, Spread] | None = None) -> Columns:
    """Return a table of accuracies in per cent, each with its 95 % interval, below it if there are many attacks.

    Args:
        over_seeds: further rows by name, each with mean and standard deviation by attack.
    """
    attacks = distinct(m.attack for result in results for m in result.measurements)
    layout = "{:.1f} ({:.1f}-{:.1f})" if len(attacks) <= 3 else "{:.1f}\n{:.1f}-{:.1f}"
    spread = " Over seeds: mean ± standard deviation." if over_seeds else ""
    rows: list[tuple[str, Mapping[str, str | Text]] | None] = [
        (result.model, {m.attack: _accuracy_cell(m, layout) for m in result.measurements}) for result in results
    ]
    for name, summed in (over_seeds or {}).items():
        cells = {attack: f"{100 * mean:.1f} ± {100 * deviation:.1f}" for attack, (mean, deviation) in summed.items()}
        rows += [None, (name, cells)] if len(rows) == len(results) else [(name, cells)]
    return Columns(attacks, rows, _table_caption(results) + spread, len(attacks) <= 3)


def distinct(values: Iterable[str]) -> list[str]:
    """Return each value once, in the order of first appearance."""
    return list(dict.fromkeys(values))


def _by_attack(result: Result) -> dict[str, Measurement]:
    return {m.attack: m for m in result.measurements}


def _common_attacks(results: Sequence[Result]) -> list[str]:
    """Return the attacks that all results have, measured on the same images with the same settings."""
    first, *others = results
    images = distinct(f"{r.data} {r.fingerprint} {r.threat}" for r in results)
    return [
        attack
        for attack, m in _by_attack(first).items()
        if len(images) == 1
        and all(
            (there := _by_attack(r).get(attack)) and (there.n, there.settings) == (m.n, m.settings) for r in others
        )
    ]


def _difference(run: LoadedResult, first: LoadedResult, attack: str) -> Difference:
    if attack in run.verdicts and attack in first.verdicts:
        return paired(run.verdicts[attack], first.verdicts[attack])
    measured, base = run.result[attack], first.result[attack]
    return unpaired(measured.correct, base.correct, base.n)


def _comparisons(runs: Sequence[LoadedResult]) -> Iterator[RenderableType]:
    """Yield the comparisons with the first run: a line for each, or a table if there are many."""
    found, first = against_first(runs), runs[0].result.model
    if not found:
        return
    holding = f" after Holm's correction for {len(found)} comparisons" if len(found) > 1 else ""
    yield Text()
    if len({attack for _, attack, _ in found}) > 3 or len(found) > MOST_LINES:
        rows = ((run.result.model, {attack: d for r, attack, d in found if r is run}) for run in runs[1:])
        caption = f"Points against {first}; undecided: not distinguishable, p >= {LEVEL}{holding}."
        yield _difference_table(rows, caption)
    else:
        yield from (_difference_line(f"{run.result.model} against {first}, {attack}", d) for run, attack, d in found)
        if holding:
            yield Text(f"The p values are those{holding}.", style="italic dim")
    if without := models_without_verdicts(runs, found):
        note = "Unpaired, as the verdicts on each image are missing: {}. Evaluate again for the sharper, paired test."
        yield Text(note.format(", ".join(without)), style="italic dim")


def _difference_table(rows: Iterable[tuple[str, Mapping[str, Difference]]], caption: str) -> Columns:
    """Return points by name and attack, with "ahead", "behind" or, if not distinguishable, "undecided"."""
    rows = [(name, differences) for name, differences in rows if differences]
    attacks = distinct(attack for _, differences in rows for attack in differences)
    layout = "{:+.1f} {}" if len(attacks) <= 3 else "{:+.1f}\n{}"
    cells = [(name, {attack: _verdict_cell(d, layout) for attack, d in by.items()}) for name, by in rows]
    return Columns(attacks, cells, caption, len(attacks) <= 3)


def _difference_line(what: str, difference: Difference) -> Text:
    """Return a difference in words: points, their 95 % interval, the verdict and the test."""
    points, low, high = (100 * value for value in (difference.value, *difference.interval))
    test = difference.test if difference.test == "McNemar" else f"unpaired, {difference.test}"
    return Text.assemble(
        f"{what}: {points:+.1f} points ({low:.1f} to {high:.1f}), ",
        (difference.verdict, COLOURS[difference.verdict]),
        f" ({test} {_p_value(difference.p)}, {difference.n} images)",
    )


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _accuracy_cell(measured: Measurement, layout: str) -> str:
    return layout.format(*(100 * value for value in (measured.accuracy, *measured.interval)))


def _verdict_cell(difference: Difference, layout: str) -> Text:
    word = "undecided" if difference.verdict == "not distinguishable" else difference.verdict
    return Text(layout.format(100 * difference.value, word), style=COLOURS[difference.verdict])


def _table_caption(results: Sequence[Result]) -> str:
    settings = (
        distinct(f"{r.data} ({r.fingerprint})" for r in results),
        distinct(f"n = {m.n}" for r in results for m in r.measurements),
        distinct(r.threat for r in results),
        distinct(f"seed {r.seed}" for r in results),
    )
    return f"Accuracy in % (95 % interval). {', '.join(' or '.join(values) for values in settings)}."
