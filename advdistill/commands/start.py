"""`advdistill list` and `advdistill quickstart`."""

from json import dumps
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from .. import data, methods, models, recipes
from .._internal.malloc import keep_freed_memory
from ..models import teachers
from ..models.price import priced, shape
from ..quickstart import quickstart as run_quickstart
from .console import CONSOLE, say, show

__all__ = ["describe", "quickstart"]


def describe(what: str, json: bool = False, input: str | None = None, latency: bool = False) -> int:
    """The methods, models, published teachers, datasets or recipes there are."""
    kinds = {"methods": methods, "models": models, "teachers": teachers, "datasets": data, "recipes": recipes}
    if (input or latency) and what != "models":
        raise ValueError(f"--input and --latency are for `list models`, not for `list {what}`.")
    rows = priced(shape(input or "3x32x32"), latency) if input or latency else kinds[what].describe()
    if json:
        print(dumps(rows, indent=2))
        return 0
    shown = Table(*rows[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    words = Measurement.get(CONSOLE, CONSOLE.options.update(max_width=1000), shown).minimum
    Console(width=max(CONSOLE.width, words), highlight=False).print(shown)  # a name that is cut cannot be typed
    if what == "datasets":
        CONSOLE.print(data.HELP, markup=False)
    return 0


def quickstart(out: Path) -> int:
    keep_freed_memory()
    show(run_quickstart(out, say))
    return 0
