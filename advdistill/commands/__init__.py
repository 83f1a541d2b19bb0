"""What the commands do. Each returns an exit code."""

import json
from pathlib import Path

from rich import box
from rich.table import Table

from .. import data, methods, models, recipes
from ..quickstart import quickstart as run_quickstart
from .console import CONSOLE, say, show
from .evaluation import evaluate
from .reports import compare, report
from .training import choose, train
from .verification import verify

__all__ = ["choose", "compare", "describe", "evaluate", "quickstart", "report", "train", "verify"]


def describe(what: str, as_json: bool) -> int:
    """The methods, models, datasets or recipes there are."""
    kinds = {"methods": methods, "models": models, "datasets": data, "recipes": recipes}
    rows = kinds[what].describe()
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    shown = Table(*rows[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    CONSOLE.print(shown)
    return 0


def quickstart(out: Path) -> int:
    show(run_quickstart(out, say))
    return 0
