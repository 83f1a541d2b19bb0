"""Results of several runs side by side, with a warning where they do not compare."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Group
from rich.text import Text

from ..result import Result
from .table import distinct, table

__all__ = ["compare", "mismatches"]


def compare(paths: Sequence[Path | str]) -> Group:
    """One table of run folders or result files, each row named by its path, and the warnings under it.

    Raises:
        FileNotFoundError: a folder or file without a result.
        ValueError: a file is damaged or something else.
    """
    if not paths:
        raise ValueError("Nothing to compare. Name run folders or result files: advdistill compare runs/*")
    results = [replace(_load(Path(path)), model=str(path)) for path in paths]
    return Group(table(results), *(Text(line, style="yellow") for line in mismatches(results)))


def mismatches(results: Sequence[Result]) -> list[str]:
    """A sentence for each thing that makes the figures not comparable."""
    settings = {
        "number of images": distinct(str(m.n) for r in results for m in r.measurements),
        "data": distinct(f"{r.data} ({r.fingerprint})" for r in results),
        "threat model": distinct(r.threat for r in results),
    }
    return [
        f"These figures do not compare: the {what} differs ({', '.join(values)})."
        for what, values in settings.items()
        if len(values) > 1
    ]


def _load(path: Path) -> Result:
    if path.is_dir():
        path = path / "result.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Evaluate first: advdistill evaluate {path.parent}")
    return Result.load(path)
