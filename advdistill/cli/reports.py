"""Results side by side."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Compare:
    """Put the results of several runs into one table, and say who is ahead of the first."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files."""

    def __call__(self) -> int:
        from ..commands.reports import compare

        return compare(self.runs)


@dataclass(frozen=True)
class Report:
    """Write a page (.html) of one or several runs, a table (.md, .csv, .tex), or a RobustBench entry (.json) of one."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files; the first is what the others are compared with."""
    out: Path = Path("report.html")
    """The file to write."""
    as_is: bool = False
    """Show only what was measured before; otherwise missing pictures and masking verdicts of runs are made."""

    def __call__(self) -> int:
        from ..commands.reports import report

        return report(**vars(self))
