"""Runs read from disk: a result and the other files of its run. Every file but the result may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from .._internal.reading import ordinary, parse_yaml, printable, read_text
from ..results.consistency import same_fact
from ..results.files import ResultFiles
from ..results.inspection import Inspection
from ..results.masking import Verdict
from ..results.metrics import read_metrics
from ..results.result import Measurement, Result
from ..results.selection import Epoch
from ..results.weights import weights_mismatch

__all__ = ["LoadedResult", "ReportedRun", "load_result", "load_runs", "read_verdicts", "unverifiable_figures"]


@dataclass(frozen=True, eq=False)
class LoadedResult:
    """A result, named by its path, and the files of the same run that comparisons need.

    Attributes:
        path: the run's folder or the result's file, as it was given.
        file: the result's file.
        verdicts: by attack, `[n]`: 1 still classified correctly, 0 broken.
        recipe: the content of `recipe.yaml`, if `path` is a run's folder that has one.
    """

    path: Path
    file: Path
    result: Result
    verdicts: Mapping[str, np.ndarray]
    recipe: Mapping[str, object] | None


@dataclass(frozen=True, eq=False)
class ReportedRun(LoadedResult):
    """A result with everything that a report shows of its run.

    Attributes:
        name: short, and unique on the page.
        epochs: a row of named figures for each epoch of the training.
    """

    name: str
    masking: Verdict | None
    inspection: Inspection | None
    epochs: tuple[Epoch, ...]

    @property
    def clean(self) -> Measurement | None:
        return next((m for m in self.result.measurements if m.attack == "clean"), None)

    @property
    def robust(self) -> Measurement | None:
        """The measurement under the attack with the lowest accuracy."""
        return self.result.hardest

    @property
    def w_robust(self) -> float | None:
        """(clean + robust) / 2."""
        return (self.clean.accuracy + self.robust.accuracy) / 2 if self.clean and self.robust else None


def load_result(path: Path | str) -> LoadedResult:
    """Load the result of a run's folder or of a file; raises the same exceptions as `load_runs`."""
    path = Path(path)
    file = path / "result.json" if path.is_dir() else path
    if not file.exists():
        model = path.parent if path.suffix == ".json" else path
        raise FileNotFoundError(f"{file} does not exist. Evaluate first: advdistill evaluate {model}")
    result = Result.load(file)
    if said := weights_mismatch(file, result):
        raise ValueError(said)
    verdicts = read_verdicts(ResultFiles(file).verdicts, result)
    return LoadedResult(path, file, replace(result, model=str(path)), verdicts, _read_recipe(path / "recipe.yaml"))


def load_runs(paths: Sequence[Path | str]) -> list[ReportedRun]:
    """Load run folders or result files, each once, with the other files of each run.

    Raises:
        FileNotFoundError: a folder or file has no result.
        ValueError: no path is given, or a file is damaged or does not belong to its result.
    """
    if not paths:
        raise ValueError("Nothing to report. Name run folders or result files: advdistill report runs/*")
    runs = [load_result(path) for path in dict.fromkeys(map(Path, paths))]
    short = [_short_name(run) for run in runs]
    names = [str(run.path) if short.count(name) > 1 else name for run, name in zip(runs, short, strict=True)]
    return [_reported_run(name, run) for name, run in zip(names, runs, strict=True)]


def read_verdicts(file: Path, result: Result) -> dict[str, np.ndarray]:
    """Read the verdicts by attack; none if there is no file. Raises ValueError if they contradict the result."""
    if not file.exists():
        return {}
    try:
        with safe_open(ordinary(file), "np") as opened:
            described, names = opened.metadata() or {}, set(opened.keys())
            verdicts = {m.attack: opened.get_tensor(m.attack) for m in result.measurements if m.attack in names}
    except (SafetensorError, AttributeError, TypeError) as error:  # the last two: dtypes that numpy lacks
        what = printable(error)
        raise ValueError(f"{file} is truncated or damaged ({what}). Delete it, or run the evaluation again.") from None
    for what in ("fingerprint", "threat", "seed", *(described.keys() & {"weights"})):  # earlier versions lack weights
        if not same_fact(what, described.get(what), getattr(result, what)):
            there, here = described.get(what), getattr(result, what)
            shown = f"{what} {printable(there)}, but its result has {printable(here)}"
            raise ValueError(f"{file} has {shown}. Delete it, or evaluate again.")
    for attack, found in verdicts.items():
        _check_verdicts(file, found, result[attack])
    return verdicts


def unverifiable_figures(result: Result, verdicts: Mapping[str, np.ndarray]) -> str | None:
    """Return a clause that names the figures that cannot be checked for lack of per-image verdicts, or `None`."""
    lacking = [m.attack for m in result.measurements if m.attack not in verdicts]
    if not lacking:
        return None
    which = f"of {', '.join(lacking)} " if verdicts else ""
    return f"the verdicts {which}on each image are missing next to this result, so nothing here can check its figures"


def _check_verdicts(file: Path, verdicts: np.ndarray, measured: Measurement) -> None:
    right, broken = (int((verdicts == value).sum()) for value in (1, 0))
    if verdicts.shape != (measured.n,) or (right, broken) != (measured.correct, measured.n - measured.correct):
        raise ValueError(
            f"{file} has {verdicts.size} verdicts under {measured.attack}, {right} right and {broken} broken; its "
            f"result has {measured.correct} of {measured.n} images right. Delete it, or evaluate again."
        )


def _read_recipe(file: Path) -> dict[str, object] | None:
    if not file.exists():
        return None
    recipe = parse_yaml(read_text(file), str(file))
    if not isinstance(recipe, dict):
        raise ValueError(f"{file} must hold fields such as 'epochs: 50', got {type(recipe).__name__}.")
    return recipe


def _reported_run(name: str, run: LoadedResult) -> ReportedRun:
    files = ResultFiles(run.file)
    metrics = run.path / "metrics.jsonl" if run.path.is_dir() else files.metrics
    epochs = tuple(read_metrics(metrics, for_report=True))
    masking, inspection = _read_masking(files.masking, run.result), _read_inspection(files.inspection, run.result)
    return ReportedRun(**vars(run), name=name, masking=masking, inspection=inspection, epochs=epochs)


def _short_name(run: LoadedResult) -> str:
    own = run.file.stem
    return run.file.resolve().parent.name if own == "result" else own


def _read_masking(file: Path, result: Result) -> Verdict | None:
    if not file.exists():
        return None
    verdict = Verdict.load(file)
    weights = ("weights",) if result.weights and verdict.weights else ()
    _check_same(file, verdict, result, (*weights, "data", "threat"))
    return verdict


def _read_inspection(file: Path, result: Result) -> Inspection | None:
    if not file.exists():
        return None
    inspection = Inspection.load(file)
    weights = ("weights",) if result.weights else ()  # a result of an earlier version does not name them
    _check_same(file, inspection, result, (*weights, "fingerprint", "threat"))
    return inspection


def _check_same(file: Path, found: Verdict | Inspection, result: Result, what: Sequence[str]) -> None:
    for name in what:
        there, here = getattr(found, name), getattr(result, name)
        if not same_fact(name, there, here):
            shown = f"{name} {printable(there)}, but its result has {printable(here)}"
            raise ValueError(f"{file} has {shown}. Delete it, or evaluate again.")
