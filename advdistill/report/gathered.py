"""What belongs to one run: its result, and the files beside it that say more. Any but the result may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._internal.reading import printable
from ..results.files import ResultFiles
from ..results.inspection import Inspection
from ..results.masking import Verdict
from ..results.metrics import read_metrics
from ..results.result import Measurement, Result
from ..results.selection import Epoch
from .compare import Compared, load

__all__ = ["Gathered", "gather"]


@dataclass(frozen=True, eq=False)
class Gathered:
    """A run and all that is known of it.

    Attributes:
        name: short, and no other run's on the page.
        epochs: a row of named figures for each epoch of the training.
    """

    name: str
    run: Compared
    masking: Verdict | None
    inspection: Inspection | None
    epochs: tuple[Epoch, ...]

    @property
    def result(self) -> Result:
        return self.run.result

    @property
    def clean(self) -> Measurement | None:
        return next((m for m in self.result.measurements if m.attack == "clean"), None)

    @property
    def robust(self) -> Measurement | None:
        """Under the attack that leaves least."""
        attacked = [m for m in self.result.measurements if m.attack != "clean"]
        return min(attacked, key=lambda m: m.accuracy, default=None)

    @property
    def w_robust(self) -> float | None:
        """(clean + robust) / 2."""
        return (self.clean.accuracy + self.robust.accuracy) / 2 if self.clean and self.robust else None


def gather(paths: Sequence[Path | str]) -> list[Gathered]:
    """Run folders or result files, each once, with what lies beside them.

    Raises:
        FileNotFoundError: a folder or file without a result.
        ValueError: nothing to read, or a file is damaged or does not belong to its result.
    """
    if not paths:
        raise ValueError("Nothing to report. Name run folders or result files: advdistill report runs/*")
    runs = [load(path) for path in dict.fromkeys(map(Path, paths))]
    short = [_short(run) for run in runs]
    names = [str(run.path) if short.count(name) > 1 else name for run, name in zip(runs, short, strict=True)]
    return [_gathered(name, run) for name, run in zip(names, runs, strict=True)]


def _gathered(name: str, run: Compared) -> Gathered:
    files = ResultFiles(run.file)
    metrics = run.path / "metrics.jsonl" if run.path.is_dir() else files.metrics
    epochs = tuple(read_metrics(metrics, for_report=True))
    return Gathered(name, run, _masking(files.masking, run.result), _inspection(files.inspection, run.result), epochs)


def _short(run: Compared) -> str:
    own = run.file.stem
    return run.file.resolve().parent.name if own == "result" else own


def _masking(file: Path, result: Result) -> Verdict | None:
    if not file.exists():
        return None
    verdict = Verdict.load(file)
    _belongs(file, verdict, result, ("data", "threat"))
    return verdict


def _inspection(file: Path, result: Result) -> Inspection | None:
    if not file.exists():
        return None
    inspection = Inspection.load(file)
    weights = ("weights",) if result.weights else ()  # a result of an earlier version does not name them
    _belongs(file, inspection, result, (*weights, "fingerprint", "threat"))
    return inspection


def _belongs(file: Path, found: Verdict | Inspection, result: Result, what: Sequence[str]) -> None:
    for name in what:
        there, here = getattr(found, name), getattr(result, name)
        if there != here:
            shown = f"{name} {printable(there)}, its result of {printable(here)}"
            raise ValueError(f"{file} is of {shown}. Delete it, or evaluate again.")
