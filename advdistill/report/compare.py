"""Results of several runs side by side: who is ahead of the first, and a warning where figures do not compare."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text
from safetensors import SafetensorError, safe_open

from .._internal.reading import ordinary, parse_yaml, printable, read_text
from ..results.files import ResultFiles
from ..results.result import Measurement, Result
from .statistics import LEVEL, Difference, holm, over_seeds, paired, unpaired
from .table import difference_table, distinct, line, table

__all__ = ["Compared", "against_first", "compare", "lacking", "load", "mismatches", "summed_up"]

CALM = 6  # comparisons that still have a line each


@dataclass(frozen=True, eq=False)
class Compared:
    """A result named by its path, with what lies beside it.

    Attributes:
        path: the run's folder or the result's file, as it was given.
        file: the result's.
        verdicts: by attack, `[n]`: 1 still right, 0 broken.
        recipe: of a run's folder.
    """

    path: Path
    file: Path
    result: Result
    verdicts: Mapping[str, np.ndarray]
    recipe: Mapping[str, object] | None


def compare(paths: Sequence[Path | str]) -> Group:
    """Run folders or result files as one table, each row named by its path; verdicts and warnings under it.

    A run is set against the first one where both have the same images, threat model and settings of the attack. Runs
    whose recipes differ in nothing but the seed are summed up by mean and standard deviation.

    Raises:
        FileNotFoundError: a folder or file without a result.
        ValueError: a file is damaged or something else, or the verdicts on each image are not those of the result.
    """
    if not paths:
        raise ValueError("Nothing to compare. Name run folders or result files: advdistill compare runs/*")
    runs = [load(path) for path in paths]
    results = [run.result for run in runs]
    warnings = (Text(line, style="yellow") for line in mismatches(results))
    return Group(table(results, dict(summed_up(runs))), *_judged(runs), *warnings)


def mismatches(results: Sequence[Result]) -> list[str]:
    """A sentence for each thing that makes the figures not comparable."""
    settings = {
        "number of images": distinct(str(m.n) for r in results for m in r.measurements),
        "data": distinct(f"{r.data} ({r.fingerprint})" for r in results),
        "threat model": distinct(r.threat for r in results),
    }
    if all(len(values) == 1 for values in settings.values()):  # the threat model is among an attack's settings
        for attack in distinct(m.attack for r in results for m in r.measurements):
            alike = distinct(m.settings for r in results for m in r.measurements if m.attack == attack)
            settings[f"attack {attack}"] = alike
    return [
        f"These figures do not compare: the {what} differs ({', '.join(values)})."
        for what, values in settings.items()
        if len(values) > 1
    ]


def load(path: Path | str) -> Compared:
    """A run's folder or a result's file; raises as `compare` does."""
    path = Path(path)
    file = path / "result.json" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist. Evaluate first: advdistill evaluate {file.parent}")
    result = Result.load(file)
    verdicts = _verdicts(ResultFiles(file).verdicts, result)
    return Compared(path, file, replace(result, model=str(path)), verdicts, _recipe(path / "recipe.yaml"))


def _verdicts(file: Path, result: Result) -> dict[str, np.ndarray]:
    if not file.exists():
        return {}
    try:
        with safe_open(ordinary(file), "np") as opened:
            described, names = opened.metadata() or {}, set(opened.keys())
            verdicts = {m.attack: opened.get_tensor(m.attack) for m in result.measurements if m.attack in names}
    except (SafetensorError, AttributeError, TypeError) as error:  # the latter of types that numpy lacks
        what = printable(error)
        raise ValueError(f"{file} is truncated or damaged ({what}). Delete it, or run the evaluation again.") from None
    for what in ("fingerprint", "threat", "seed"):
        if described.get(what) != str(getattr(result, what)):
            there, here = described.get(what), getattr(result, what)
            shown = f"{what} {printable(there)}, its result of {printable(here)}"
            raise ValueError(f"{file} is of {shown}. Delete it, or evaluate again.")
    for attack, found in verdicts.items():
        _check(file, found, _by_attack(result)[attack])
    return verdicts


def _check(file: Path, verdicts: np.ndarray, measured: Measurement) -> None:
    right, broken = (int((verdicts == value).sum()) for value in (1, 0))
    if verdicts.shape != (measured.n,) or (right, broken) != (measured.correct, measured.n - measured.correct):
        raise ValueError(
            f"{file} has {verdicts.size} verdicts under {measured.attack}, {right} right and {broken} broken; its "
            f"result has {measured.correct} of {measured.n} images right. Delete it, or evaluate again."
        )


def _recipe(file: Path) -> dict[str, object] | None:
    if not file.exists():
        return None
    recipe = parse_yaml(read_text(file), str(file))
    if not isinstance(recipe, dict):
        raise ValueError(f"{file} must hold fields such as 'epochs: 50', got {type(recipe).__name__}.")
    return recipe


def _by_attack(result: Result) -> dict[str, Measurement]:
    return {m.attack: m for m in result.measurements}


def _common(results: Sequence[Result]) -> list[str]:
    """The attacks that all results hold, measured on the same images with the same settings."""
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


def summed_up(runs: Sequence[Compared]) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Names, and by attack mean and standard deviation, of runs that differ only in the seed."""
    groups: dict[str, dict[object, Result]] = {}
    for run in runs:
        if run.recipe is not None:
            recipe = json.dumps({k: v for k, v in run.recipe.items() if k != "seed"}, sort_keys=True, default=str)
            groups.setdefault(recipe, {}).setdefault(str(run.recipe.get("seed")), run.result)
    for results in (list(group.values()) for group in groups.values() if len(group) > 1):
        figures = {attack: over_seeds([r[attack].accuracy for r in results]) for attack in _common(results)}
        if figures:
            yield f"{results[0].model}, {len(results)} seeds", figures


def _judged(runs: Sequence[Compared]) -> Iterator[RenderableType]:
    """Who is ahead of the first run: a line for each comparison, or a table of many."""
    found, first = against_first(runs), runs[0].result.model
    if not found:
        return
    holding = f" after Holm's correction for {len(found)} comparisons" if len(found) > 1 else ""
    yield Text()
    if len({attack for _, attack, _ in found}) > 3 or len(found) > CALM:
        rows = ((run.result.model, {attack: d for r, attack, d in found if r is run}) for run in runs[1:])
        caption = f"Points against {first}; undecided: not distinguishable, p >= {LEVEL}{holding}."
        yield difference_table(rows, caption)
    else:
        yield from (line(f"{run.result.model} against {first}, {attack}", d) for run, attack, d in found)
        if holding:
            yield Text(f"The p values are those{holding}.", style="italic dim")
    if without := lacking(runs, found):
        note = "Unpaired, as the verdicts on each image are missing: {}. Evaluate again for the sharper, paired test."
        yield Text(note.format(", ".join(without)), style="italic dim")


def against_first(runs: Sequence[Compared]) -> list[tuple[Compared, str, Difference]]:
    """Every run against the first under each attack that both hold alike; the p values are corrected for all."""
    first, *others = runs
    pairs = [(run, attack) for run in others for attack in _common([first.result, run.result])]
    found = [_difference(run, first, attack) for run, attack in pairs]
    corrected = holm([difference.p for difference in found])
    return [(*pair, replace(d, p=p)) for pair, d, p in zip(pairs, found, corrected, strict=True)]


def _difference(run: Compared, first: Compared, attack: str) -> Difference:
    if attack in run.verdicts and attack in first.verdicts:
        return paired(run.verdicts[attack], first.verdicts[attack])
    measured, base = run.result[attack], first.result[attack]
    return unpaired(measured.correct, base.correct, base.n)


def lacking(runs: Sequence[Compared], found: Sequence[tuple[Compared, str, Difference]]) -> list[str]:
    """The models for whose missing verdicts some of these comparisons are unpaired."""
    attacks = {attack for _, attack, difference in found if difference.test == "Fisher"}
    return distinct(r.result.model for r in runs if attacks & (_by_attack(r.result).keys() - r.verdicts.keys()))
