"""`advdistill compare`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .console import CONSOLE, check_results

__all__ = ["Compare"]


@dataclass(frozen=True)
class Compare:
    """Compare the results of several runs in one table, and test which are better or worse than the first."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files."""

    def __call__(self) -> int:
        from ..report.compare import compare

        check_results(self.runs)
        CONSOLE.print(compare(self.runs))
        return 0
