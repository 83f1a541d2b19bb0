"""`advdistill list`."""

from dataclasses import dataclass
from json import dumps
from typing import Literal

from rich.measure import Measurement
from tyro.conf import Positional

from .console import CONSOLE, Terminal, columns, tell

__all__ = ["List"]


@dataclass(frozen=True)
class List:
    """List the methods, models, published teachers, datasets or recipes."""

    kind: Positional[Literal["methods", "models", "teachers", "datasets", "recipes"]]
    """What to list."""
    json: bool = False
    """Print JSON."""
    input: str | None = None
    """For models: count multiplications for an image of channels x height x width, such as 3x32x32."""
    latency: bool = False
    """For models: measure the latency of one such image on this machine, on one thread."""

    def __call__(self) -> int:
        from .. import data, methods, models, recipes
        from ..models import teachers
        from ..models.price import describe_with_cost, shape

        counted = self.input or self.latency
        if counted and self.kind != "models":
            raise ValueError(f"--input and --latency are for `list models`, not for `list {self.kind}`.")
        kinds = {"methods": methods, "models": models, "teachers": teachers, "datasets": data, "recipes": recipes}
        image = self.input or "3x32x32"
        rows = describe_with_cost(shape(image), self.latency) if counted else kinds[self.kind].describe()
        if self.json:
            print(dumps(rows, indent=2))
            return 0
        shown = columns(*rows[0])
        for row in rows:
            shown.add_row(*(str(value) for value in row.values()))
        words = Measurement.get(CONSOLE, CONSOLE.options.update(max_width=1000), shown).minimum
        Terminal(width=max(CONSOLE.width, words), highlight=False).print(shown)  # a truncated name cannot be typed
        if self.kind == "datasets":
            tell(data.HELP)
        return 0
