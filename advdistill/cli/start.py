"""For a first look around."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class List:
    """Show what there is."""

    what: Positional[Literal["methods", "models", "datasets", "recipes"]]
    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from ..commands import describe

        return describe(self.what, self.json)


@dataclass(frozen=True)
class Quickstart:
    """Teacher, PGD-AT student, distilled student on 8 x 8 digits: trained, attacked, compared, in minutes."""

    out: Path = Path("runs/quickstart")
    """Where the runs and pictures go."""

    def __call__(self) -> int:
        from ..commands import quickstart

        return quickstart(self.out)
