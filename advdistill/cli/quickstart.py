"""`advdistill quickstart`."""

from dataclasses import dataclass
from pathlib import Path

from .._internal.malloc import keep_freed_memory
from .console import say, show

__all__ = ["Quickstart"]


@dataclass(frozen=True)
class Quickstart:
    """Train, attack and compare a teacher, a PGD-AT student and a distilled student on 8 x 8 digits, in minutes."""

    out: Path = Path("runs/quickstart")
    """Where the runs and pictures are written."""

    def __call__(self) -> int:
        keep_freed_memory()

        from ..quickstart import quickstart

        show(quickstart(self.out, say))
        return 0
