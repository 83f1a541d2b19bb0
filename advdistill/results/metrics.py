"""The only reader of `metrics.jsonl`, which has one row of named numbers per epoch of a training.

Rows have `step` and `epoch`, both counted from 1; `lr`, `seconds`, `loss/NAME` for each loss, `clean` and `robust`
held-out accuracies if the epoch was validated, and what the method adds, such as `temperature/adv`.
"""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from .._internal.reading import read_text
from .selection import Epoch

__all__ = ["losses_of", "read_metrics"]

LARGEST = 2**53  # largest integer up to which a float holds every integer exactly


def read_metrics(file: Path, *, for_report: bool = False) -> list[Epoch]:
    """Read a `metrics.jsonl`.

    A last line that is cut off is skipped: the process was killed while writing it.

    Args:
        file: a row for each epoch.
        for_report: raise ValueError for a damaged line; otherwise lines without a step or an epoch, or with values
            that are not numbers, are skipped, so that a damaged file never stops a run.

    Returns:
        The rows, numbers by name; empty if there is no such file.

    Raises:
        ValueError: the file is not text or too large; for a report, a line is not an object of numbers with an epoch.
    """
    if not file.exists():
        return []
    try:
        lines = read_text(file).splitlines()
    except ValueError as error:
        if for_report:
            raise ValueError(f"{error} Delete it, or name the result's file instead of the folder.") from None
        raise
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            row = None
        if _is_epoch(row) and (for_report or _counts(row.get("step"))):
            rows.append(row)
        elif for_report:
            shown = f'named numbers such as {{"epoch": 1}}, got {line[:60]!r}; accuracies lie in [0, 1]'
            raise ValueError(f"{file}, line {number}, must be {shown}.")
    return rows


def losses_of(row: Epoch) -> dict[str, float]:
    """Return the mean losses of an epoch.

    Args:
        row: a row from `read_metrics`.

    Returns:
        The losses by name, without the prefix `loss/`.

    >>> losses_of({"step": 3, "epoch": 1, "loss/adv": 1.5, "loss/clean": 0.5})
    {'adv': 1.5, 'clean': 0.5}
    """
    parts = {name: name.partition("/") for name in row}
    return {name: row[key] for key, (kind, _, name) in parts.items() if kind == "loss" and name}


def _is_epoch(row: Any) -> bool:
    numbers = isinstance(row, dict) and _counts(row.get("epoch")) and all(map(_is_number, row.values()))
    accuracies = [row[name] for name in ("clean", "robust") if name in row] if numbers else []
    return numbers and all(0 <= one <= 1 for one in accuracies if isfinite(one))


def _counts(value: Any) -> bool:
    return _is_number(value) and 0 <= value < LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST)
