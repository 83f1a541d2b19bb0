"""For a first look around."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class List:
    """Show what there is."""

    what: Positional[Literal["methods", "models", "teachers", "datasets", "recipes"]]
    json: bool = False
    """As JSON."""
    input: str | None = None
    """Models: channels x height x width of an image, such as 3x32x32, to count multiplications for."""
    latency: bool = False
    """Models: measure the time of one such image on this machine, on one thread."""

    def __call__(self) -> int:
        from ..commands.start import describe

        return describe(**vars(self))


@dataclass(frozen=True)
class Quickstart:
    """Teacher, PGD-AT student, distilled student on 8 x 8 digits: trained, attacked, compared, in minutes."""

    out: Path = Path("runs/quickstart")
    """Where the runs and pictures go."""

    def __call__(self) -> int:
        from ..commands.start import quickstart

        return quickstart(self.out)
