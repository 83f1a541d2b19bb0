"""What belongs to one run: its result, and the files beside it that say more. Any but the result may be missing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from typeguard import TypeCheckError, check_type

from ..reading import printable, read_text
from ..result import Measurement, Result, build
from .compare import Compared, load
from .inspection import Inspection
from .selection import Epoch

__all__ = ["Finding", "Gathered", "Masking", "gather"]

LARGEST = 2**53  # of whole numbers, up to which a float is exact
Status = Literal["skip", "pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One sign of gradient masking that was looked for, as `evaluation.masking` writes it."""

    name: str
    status: Status
    figures: dict[str, float]
    reason: str


@dataclass(frozen=True)
class Masking:
    """The verdict on gradient masking: the worst of its findings."""

    status: Status
    data: str
    threat: str
    n: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class Gathered:
    """A run and all that is known of it.

    Attributes:
        name: short, and no other run's on the page.
        epochs: a row of named figures for each epoch of the training.
    """

    name: str
    run: Compared
    masking: Masking | None
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
    return [
        Gathered(
            name,
            run,
            _masking(run.file.with_suffix(".masking.json"), run.result),
            _inspection(run.file.with_suffix(".inspection.safetensors"), run.result),
            _epochs(run.path / "metrics.jsonl" if run.path.is_dir() else run.file.with_suffix(".metrics.jsonl")),
        )
        for name, run in zip(names, runs, strict=True)
    ]


def _short(run: Compared) -> str:
    own = run.file.stem
    return run.file.resolve().parent.name if own == "result" else own


def _masking(file: Path, result: Result) -> Masking | None:
    if not file.exists():
        return None
    try:
        values = check_type(json.loads(read_text(file)), dict)
        findings = tuple(build(Finding, one) for one in check_type(values.get("findings"), list))
        masking = build(Masking, values | {"findings": findings})
    except (ValueError, RecursionError, TypeCheckError) as error:
        raise ValueError(
            f"{file} is damaged or no verdict on gradient masking ({printable(error)}). "
            "Delete it, or evaluate again with --masking."
        ) from None
    _belongs(file, masking, result, ("data", "threat"))
    return masking


def _inspection(file: Path, result: Result) -> Inspection | None:
    if not file.exists():
        return None
    inspection = Inspection.load(file)
    weights = ("weights",) if result.weights else ()  # a result of an earlier version does not name them
    _belongs(file, inspection, result, (*weights, "fingerprint", "threat"))
    return inspection


def _belongs(file: Path, found: Masking | Inspection, result: Result, what: Sequence[str]) -> None:
    for name in what:
        there, here = getattr(found, name), getattr(result, name)
        if there != here:
            shown = f"{name} {printable(there)}, its result of {printable(here)}"
            raise ValueError(f"{file} is of {shown}. Delete it, or evaluate again.")


def _epochs(file: Path) -> tuple[Epoch, ...]:
    if not file.exists():
        return ()
    try:
        lines = read_text(file).splitlines()
    except ValueError as error:
        raise ValueError(f"{error} Delete it, or give the result's file alone.") from None
    rows = [_row(file, number, line, last=number == len(lines)) for number, line in enumerate(lines, 1)]
    return tuple(row for row in rows if row)


def _row(file: Path, number: int, line: str, last: bool) -> Epoch | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        if last:  # the process died while it wrote this line
            return None
        row = None
    if not (isinstance(row, dict) and _counts(row.get("epoch")) and all(map(_is_number, row.values()))):
        raise ValueError(f"{file}, line {number}, must be named numbers such as {{\"epoch\": 1}}, got {line[:60]!r}.")
    return row


def _counts(epoch: Any) -> bool:
    return _is_number(epoch) and 0 <= epoch < LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST)
