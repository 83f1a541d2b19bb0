"""Runs as one self-contained HTML page: accuracies with verdicts, charts, a gallery, settings, provenance."""

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .._internal.packages import require
from ..results.result import hardest, wilson
from ..results.selection import Selection, overfitting
from .charts import class_charts, curve_charts, javascript, networks
from .columns import pieces
from .compare import against_first, distinct, mean_over_seeds, mismatches, models_without_verdicts, remarks, unverified
from .epochs import state_charts, training_charts
from .loading import ReportedRun, load_runs
from .pictures import drop_repeated_teachers, gallery
from .statistics import Difference

__all__ = ["check", "page", "render"]

TEMPLATES = Path(__file__).parent / "templates"
LIMIT = 4_900_000  # bytes
Differences = Sequence[tuple[str, str, Difference]]  # by run and attack, against the first run


def check() -> None:
    """Raise ImportError if a package of the extra `report` is missing."""
    require("jinja2", "The report", "report")
    require("altair", "The report", "report")
    require("vl_convert", "The report", "report")
    require("PIL", "The report", "report")


def page(paths: Sequence[Path | str]) -> str:
    """Return an HTML page under 5 MB that shows run folders or result files and compares them with the first.

    Raises:
        FileNotFoundError: a folder or file has no result.
        ValueError: no path is given, or a file is damaged or does not belong to its result.
        ImportError: the packages of the extra `report` are missing.
    """
    runs = load_runs(paths)
    facts = _summary(runs) | {"charts": _all_charts(runs)}
    inspected = [run for run in runs if run.inspection]
    without = render(facts | {"elsewhere": {}, "galleries": {run.name: [] for run in inspected}})
    left = LIMIT - len(without.encode(errors="replace"))
    galleries = {run.name: gallery(run.inspection, left / len(inspected)) for run in runs if run.inspection}
    html = render(facts | {"elsewhere": drop_repeated_teachers(galleries), "galleries": galleries})
    return html.encode(errors="replace").decode()  # a path may contain bytes that are not text


def _all_charts(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    return {
        "curves": curve_charts(runs),
        "training": training_charts(runs),
        "state": state_charts(runs),
        "classes": class_charts(runs),
    }


def render(facts: dict[str, Any], template: str = "page.html") -> str:
    """Render a template with these variables, and with the style and scripts that all our pages share."""
    jinja = require("jinja2", "The report", "report")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": _percent_text, "interval": _interval_text, "p": _p_text, "name": _name_html}
    scripts = [javascript(), (TEMPLATES / "page.js").read_text()]
    style = (TEMPLATES / "style.css").read_text()
    hashes = " ".join(map(_script_hash, scripts))
    return environment.get_template(template).render(**facts, scripts=scripts, style=style, hashes=hashes)


def _script_hash(script: str) -> str:
    """Return a hash for the page's content security policy: only scripts with such a hash run on the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _percent_text(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}".replace("-", "−")


def _interval_text(pair: tuple[float, float]) -> str:
    return (" to " if pair[0] < 0 else "–").join(map(_percent_text, pair))


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _name_html(name: str) -> Any:
    """Return a name as HTML that a browser may break between its pieces."""
    markup = require("markupsafe", "The report", "report")
    return markup.Markup("<wbr>").join(pieces(name))


def _summary(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """Return the template's variables by name."""
    found = against_first(runs)
    differences = [(run.name, attack, difference) for run, attack, difference in found]
    return {
        "runs": runs, "version": runs[0].result.versions.get("advdistill", ""),
        "attacks": distinct(m.attack for run in runs for m in run.result.measurements),
        "differences": differences,
        "against": {run.name: _hardest_comparison(run, differences) for run in runs[1:]},
        "unpaired": models_without_verdicts(runs, found),
        "warnings": mismatches([run.result for run in runs]),
        "remarks": [*remarks([run.result for run in runs]), *unverified(runs)],
        "over_seeds": list(mean_over_seeds(runs)),
        "selection": {run.name: run.result.chosen or Selection() for run in runs},
        "overfitting": {run.name: overfitting(run.epochs) for run in runs},
        "networks": _network_rows(runs),
        "recipes": {run.name: yaml.safe_dump(run.recipe, sort_keys=False) for run in runs if run.recipe},
        "differing": _differing_settings(runs),
        "missing": [line for run in runs for line in _missing_parts(run)],
    }


def _hardest_comparison(run: ReportedRun, differences: Differences) -> tuple[str, Difference] | None:
    """Return the comparison under this run's hardest attack, or the clean one if there is no other."""
    found = {attack: difference for name, attack, difference in differences if name == run.name}
    least = hardest(m for m in run.result.measurements if m.attack in found)
    attack = least.attack if least else next(iter(found), None)
    return (attack, found[attack]) if attack else None


def _network_rows(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """Return a row for each inspected network."""
    names = {run.name: run.inspection.class_names for run in runs if run.inspection}
    return [
        {
            "name": name,
            "accuracy": {attack: _total(pairs) for attack, pairs in network.classes.items()},
            "worst": {attack: _worst_class(pairs, names.get(owner, ())) for attack, pairs in network.classes.items()},
            "calibration": network.calibration,
            "remainder": network.remainder,
        }
        for name, owner, network in networks(runs)
    ]


def _total(pairs: Sequence[tuple[int, int]]) -> tuple[int, int, tuple[float, float]]:
    n, correct = (sum(column) for column in zip(*pairs, strict=True))
    return n, correct, wilson(correct, n)


def _worst_class(pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> tuple[str, int, int]:
    present = [(name, n, correct) for name, (n, correct) in zip(names, pairs, strict=True) if n]
    return min(present, key=lambda one: one[2] / one[1])


def _differing_settings(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Return the settings in which the recipes differ, each with its value in every run."""
    flat = [dict(_flattened(run.recipe or {})) for run in runs]
    rows = [(name, [one.get(name, "–") for one in flat]) for name in distinct(key for one in flat for key in one)]
    return [(name, values) for name, values in rows if len(set(values)) > 1] if all(flat) else []


def _flattened(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in recipe.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _missing_parts(run: ReportedRun) -> Iterator[tuple[str, str, str | None]]:
    """Yield the parts of the page that a run lacks, each with the command that computes it, if there is one."""
    path = run.path
    run_again = shlex.join(["advdistill", "evaluate", *([str(path)] if path.is_dir() else ["RUN", "--out", str(path)])])
    if not run.inspection:
        yield run.name, "accuracy against eps and by class, calibration, gallery, gradients", f"{run_again} --inspect"
    if not run.masking:
        yield run.name, "the verdict on gradient masking", f"{run_again} --masking"
    if not run.epochs:
        yield run.name, "training curves: there is no metrics.jsonl of this run", None
