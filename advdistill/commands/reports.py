"""`advdistill compare` and `advdistill report`."""

from collections.abc import Sequence
from pathlib import Path

from ..files import write_atomic
from ..report.compare import compare as comparison
from ..result import Result
from ..run import Run
from ..threat import parse
from .beside import Beside
from .console import CONSOLE, say
from .subject import Subject, device, look_closer

__all__ = ["compare", "report"]


def compare(runs: Sequence[Path]) -> int:
    CONSOLE.print(comparison(runs))
    return 0


def report(runs: Sequence[Path], out: Path, as_is: bool) -> int:
    """A page, or a table by the ending of `out`."""
    from ..report.export import KINDS, tables
    from ..report.page import page

    kind = KINDS.get(out.suffix)
    if kind is None and out.suffix != ".html":
        raise ValueError(f"{out}: a report is a page (.html) or a table ({', '.join(KINDS)}), not {out.suffix!r}.")
    if kind is None and not as_is:
        for run in filter(Path.is_dir, runs):
            _complete(run)
    text = tables(runs, kind) if kind else page(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, lambda temporary: temporary.write_text(text))
    say(f"written to {out}")
    return 0


def _complete(folder: Path) -> None:
    """Make what the page shows and is not there yet."""
    files = Beside(Run(folder).result)
    missing = {"masking": not files.masking.exists(), "inspection": not files.inspection.exists()}
    if not files.result.exists() or not any(missing.values()):
        return
    say(f"{folder}: looking at the networks; --as-is leaves that out")
    measured = Result.load(files.result)
    subject = Subject(str(folder), measured.data.split("/")[0], None, None, None)
    subject.threat = parse(measured.threat)
    look_closer(subject, subject.other(None), files, device(), n=None, seed=0, **missing)
