"""Runs as one HTML page that needs nothing else: figures with verdicts, charts, a gallery, settings, provenance."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._internal.optional import require
from .charts import class_charts, curve_charts, javascript
from .epochs import state_charts, training_charts
from .gallery import gallery
from .gathered import Gathered, gather
from .summary import summary

__all__ = ["check", "page"]

TEMPLATES = Path(__file__).parent / "templates"
LIMIT = 4_900_000  # bytes


def check() -> None:
    """Raise ImportError where a package of the extra `report` is missing."""
    for package in ("jinja2", "altair", "vl_convert", "PIL"):
        require(package, "The report", "report")


def page(paths: Sequence[Path | str]) -> str:
    """Run folders or result files as a page of HTML, under 5 MB; the first is what the others are set against.

    Raises:
        FileNotFoundError: a folder or file without a result.
        ValueError: nothing named, or a file is damaged or does not belong to its result.
        ImportError: the packages of the extra `report` are missing.
    """
    runs = gather(paths)
    facts = summary(runs) | {"charts": _charts(runs)}
    inspected = [run for run in runs if run.inspection]
    left = LIMIT - len(_render(facts | {"galleries": {run.name: [] for run in inspected}}).encode(errors="replace"))
    galleries = {run.name: gallery(run.inspection, left / len(inspected)) for run in runs if run.inspection}
    html = _render(facts | {"galleries": galleries})
    return html.encode(errors="replace").decode()  # a path may hold bytes that are no text


def _charts(runs: Sequence[Gathered]) -> dict[str, Any]:
    return {
        "curves": curve_charts(runs),
        "training": training_charts(runs),
        "state": state_charts(runs),
        "classes": class_charts(runs),
    }


def _render(facts: dict[str, Any]) -> str:
    jinja = require("jinja2", "The report", "report")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": _percent, "interval": _interval, "p": _p}
    scripts = [javascript(), (TEMPLATES / "page.js").read_text()]
    style = (TEMPLATES / "style.css").read_text()
    hashes = " ".join(map(_hash, scripts))
    return environment.get_template("page.html").render(**facts, scripts=scripts, style=style, hashes=hashes)


def _hash(script: str) -> str:
    """Under the page's policy only these scripts run, whatever else stands in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}".replace("-", "−")


def _interval(pair: tuple[float, float]) -> str:
    return (" to " if pair[0] < 0 else "–").join(map(_percent, pair))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
