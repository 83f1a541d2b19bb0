"""What is said of runs in words and tables: verdicts, the choice of checkpoints, the networks, what is missing."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from ..results.result import wilson
from ..results.selection import Selection, overfitting
from .charts import networks
from .compare import against_first, lacking, mismatches, summed_up
from .gathered import Gathered
from .statistics import Difference
from .table import distinct

__all__ = ["summary"]

Differences = Sequence[tuple[str, str, Difference]]  # by run and attack, against the first run


def summary(runs: Sequence[Gathered]) -> dict[str, Any]:
    """By the names that the template uses."""
    compared, named = [run.run for run in runs], {id(run.run): run.name for run in runs}
    found = against_first(compared)
    differences = [(named[id(run)], attack, difference) for run, attack, difference in found]
    return {
        "runs": runs,
        "attacks": distinct(m.attack for run in runs for m in run.result.measurements),
        "differences": differences,
        "against": {run.name: _hardest(run, differences) for run in runs[1:]},
        "unpaired": lacking(compared, found),
        "warnings": mismatches([run.result for run in runs]),
        "over_seeds": list(summed_up(compared)),
        "selection": {run.name: run.result.chosen or Selection() for run in runs},
        "overfitting": {run.name: overfitting(run.epochs) for run in runs},
        "networks": _networks(runs),
        "recipes": {run.name: yaml.safe_dump(run.run.recipe, sort_keys=False) for run in runs if run.run.recipe},
        "differing": _differing(runs),
        "missing": [line for run in runs for line in _missing(run)],
    }


def _hardest(run: Gathered, differences: Differences) -> tuple[str, Difference] | None:
    """The comparison under the attack that leaves least of this run, clean images aside, if there are others."""
    found = {attack: difference for name, attack, difference in differences if name == run.name}
    attacks = [attack for attack in found if attack != "clean"] or list(found)
    attack = min(attacks, key=lambda name: run.result[name].accuracy, default=None)
    return (attack, found[attack]) if attack else None


def _networks(runs: Sequence[Gathered]) -> list[dict[str, Any]]:
    """A row for each network that was inspected and each set of images it saw."""
    names = {run.name: run.inspection.class_names for run in runs if run.inspection}
    return [
        {
            "name": name,
            "accuracy": {attack: _sum(pairs) for attack, pairs in network.classes.items()},
            "worst": {attack: _worst(pairs, names.get(owner, ())) for attack, pairs in network.classes.items()},
            "calibration": network.calibration,
            "remainder": network.remainder,
        }
        for name, owner, network in networks(runs)
    ]


def _sum(pairs: Sequence[tuple[int, int]]) -> tuple[int, int, tuple[float, float]]:
    n, correct = (sum(column) for column in zip(*pairs, strict=True))
    return n, correct, wilson(correct, n)


def _worst(pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> tuple[str, int, int]:
    present = [(name, n, correct) for name, (n, correct) in zip(names, pairs, strict=True) if n]
    return min(present, key=lambda one: one[2] / one[1])


def _differing(runs: Sequence[Gathered]) -> list[tuple[str, list[str]]]:
    """The settings that recipes do not share, each with its value in every run."""
    flat = [dict(_flat(run.run.recipe or {})) for run in runs]
    rows = [(name, [one.get(name, "–") for one in flat]) for name in distinct(key for one in flat for key in one)]
    return [(name, values) for name, values in rows if len(set(values)) > 1] if all(flat) else []


def _flat(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in recipe.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _missing(run: Gathered) -> Iterator[tuple[str, str, str | None]]:
    """What the page lacks of a run, and the command that makes it, if there is one."""
    path = run.run.path
    run_again = shlex.join(["advdistill", "evaluate", *([str(path)] if path.is_dir() else ["RUN", "--out", str(path)])])
    if not run.inspection:
        yield run.name, "accuracy against eps and by class, calibration, gallery, gradients", f"{run_again} --inspect"
    if not run.masking:
        yield run.name, "the verdict on gradient masking", f"{run_again} --masking"
    if not run.epochs:
        yield run.name, "training curves: there is no metrics.jsonl of this run", None
