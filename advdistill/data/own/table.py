"""A CSV or TSV with the columns path, label and perhaps split, beside the pictures it names."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from .collection import Found, part_named
from .encoded import Files
from .pictures import printable

__all__ = ["read"]

_PATHS = ("path", "file_name", "filename", "image")


def read(table: Path, root: Path | None = None) -> Found:
    """Paths are below `root`, or beside the table. Raises ValueError for a table of another form."""
    root = root or table.parent
    found: dict[str, tuple[list[Path], list[str]]] = {}
    for line, row in _rows(table):
        part = part_named(row["split"]) if row["split"] else "train"
        if part is None:
            raise ValueError(f"{table}, line {line}: split is {row['split']!r}; expected train, test or val.")
        paths, labels = found.setdefault(part, ([], []))
        paths.append(_below(root, row["path"], f"{table}, line {line}"))
        labels.append(row["label"])
    return Found({part: (Files(paths, root), labels) for part, (paths, labels) in found.items()})


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers, and rows of `path`, `label` and `split`."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            separator = "\t" if table.suffix.lower() == ".tsv" else _separator(stream.readline())
            stream.seek(0)
            lines = csv.reader(stream, delimiter=separator)
            columns = _columns(table, next(lines, []))
            for cells in filter(None, lines):
                row = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
                if not row["path"] or not row["label"]:
                    raise ValueError(f"{table}, line {lines.line_num}: expected a path and a label, got {cells[:4]!r}.")
                yield lines.line_num, {"split": ""} | row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a table of text: {error}.") from None


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _columns(table: Path, header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    path = next((name for name in _PATHS if name in names), None)
    if path is None or "label" not in names:
        shown = printable(", ".join(names[:8])) or "nothing"
        raise ValueError(f"{table} must begin with the columns path, label and perhaps split; it begins with: {shown}.")
    wanted = {"path": path, "label": "label", "split": "split"}
    return {what: names.index(name) for what, name in wanted.items() if name in names}


def _below(root: Path, path: str, where: str) -> Path:
    full = Path(os.path.normpath(root / path))
    if not full.is_relative_to(os.path.normpath(root)):
        raise ValueError(f"{where}: {path!r} leads out of {root}. Give a folder that holds all: --data.folder FOLDER.")
    return full
