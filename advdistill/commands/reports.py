"""`advdistill compare` and `advdistill report`."""

import json
from collections.abc import Sequence
from pathlib import Path

from .._internal.files import make_folder, write_atomic
from ..report.compare import compare as comparison
from ..report.compare import load
from ..report.export import KINDS, tables
from ..report.robustbench import robustbench_entry
from ..results.files import ResultFiles
from ..results.result import Result
from ..run import Run
from ..threat import parse
from .console import CONSOLE, say
from .subject import Subject, device, look_closer

__all__ = ["compare", "report"]


def compare(runs: Sequence[Path]) -> int:
    CONSOLE.print(comparison(runs))
    return 0


def report(runs: Sequence[Path], out: Path, as_is: bool) -> int:
    """A page, a table or a RobustBench entry, by the ending of `out`."""
    text = _text(runs, out, as_is)
    make_folder(out.parent)
    write_atomic(out, lambda temporary: temporary.write_text(text))
    say(f"written to {out}")
    return 0


def _text(runs: Sequence[Path], out: Path, as_is: bool) -> str:
    if out.suffix in KINDS:
        return tables(runs, KINDS[out.suffix])
    if out.suffix == ".json":
        return _entry(runs)
    if out.suffix != ".html":
        known = f"a page (.html), a table ({', '.join(KINDS)}) or a RobustBench entry (.json)"
        raise ValueError(f"{out}: a report is {known}, not {out.suffix!r}.")
    from ..report.page import check, page

    check()
    if not as_is:
        for run in filter(Path.is_dir, runs):
            _complete(run)
    return page(runs)


def _entry(runs: Sequence[Path]) -> str:
    if len(runs) != 1:
        raise ValueError(f"A RobustBench entry is of one model, got {len(runs)}. Name one run folder or result file.")
    return json.dumps(robustbench_entry(load(runs[0]).result), indent=2) + "\n"


def _complete(folder: Path) -> None:
    """Make what the page shows and is not there yet."""
    files = ResultFiles(Run(folder).result)
    missing = {"masking": not files.masking.exists(), "inspection": not files.inspection.exists()}
    if not files.result.exists() or not any(missing.values()):
        return
    say(f"{folder}: looking at the networks; --as-is leaves that out")
    measured = Result.load(files.result)
    subject = Subject(str(folder), measured.data.rpartition("/")[0], None, None, None)
    subject.threat = parse(measured.threat)
    look_closer(subject, subject.other(None), files, device(), n=None, seed=0, **missing)
