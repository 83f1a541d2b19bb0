"""`advdistill report`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .._internal.files import make_folder, write_atomic
from .console import check_results, say

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write a page (.html) of one or several runs, a table (.md, .csv, .tex), or a RobustBench entry (.json) of one."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files; the others are compared with the first."""
    out: Path = Path("report.html")
    """The file to write."""
    as_is: bool = False
    """Show only what was measured before; otherwise missing pictures and masking verdicts are computed."""

    def __call__(self) -> int:
        text = self._text()
        make_folder(self.out.parent)
        write_atomic(self.out, lambda temporary: temporary.write_text(text))
        say(f"written to {self.out}")
        return 0

    def _text(self) -> str:
        from ..report.formats import KINDS, tables
        from ..report.page import check, page

        check_results(self.runs)
        if self.out.suffix in KINDS:
            return tables(self.runs, KINDS[self.out.suffix])
        if self.out.suffix == ".json":
            return _entry(self.runs)
        if self.out.suffix != ".html":
            known = f"a page (.html), a table ({', '.join(KINDS)}) or a RobustBench entry (.json)"
            raise ValueError(f"{self.out}: a report must be {known}, not {self.out.suffix!r}.")
        check()
        if not self.as_is:
            for run in filter(Path.is_dir, self.runs):
                _complete(run)
        return page(self.runs)


def _entry(runs: Sequence[Path]) -> str:
    from ..report.formats import robustbench_entry
    from ..report.loading import load_result

    if len(runs) != 1:
        raise ValueError(f"A RobustBench entry is of one model, got {len(runs)}. Name one run folder or result file.")
    return json.dumps(robustbench_entry(load_result(runs[0]).result), indent=2) + "\n"


def _complete(folder: Path) -> None:
    """Compute a run's missing pictures and masking verdict."""
    from ..results.files import ResultFiles
    from ..results.result import Result
    from ..run import Run
    from ..threat import parse
    from .target import Target, device, look_closer

    files = ResultFiles(Run(folder).result)
    missing = {"masking": not files.masking.exists(), "inspection": not files.inspection.exists()}
    if not files.result.exists() or not any(missing.values()):
        return
    say(f"{folder}: computing pictures and masking verdicts; --as-is leaves them out")
    measured = Result.load(files.result)
    target = Target(str(folder), measured.data.rpartition("/")[0], None, None, None)
    target.threat = parse(measured.threat)
    look_closer(target, target.other(None), files, device(), n=None, seed=0, **missing)
