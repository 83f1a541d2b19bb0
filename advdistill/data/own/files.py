"""Picture files: a folder, `DIR/train/CLASS/*` with `test` or `val` or `DIR/CLASS/*` alone; or a table of paths."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .collection import Found, part_named
from .pictures import SUFFIXES, Files, printable

__all__ = ["EXPECTED", "read_folder", "read_table"]

EXPECTED = "DIR/CLASS/picture.png, or DIR/train/CLASS/picture.png with DIR/test or DIR/val"


def read_folder(place: Path) -> Found:
    """Raises ValueError for a folder of another form."""
    homes = _homes(place)
    parts, others = {}, Counter[str]()
    for part, home in homes.items():
        parts[part] = _part(home, others)
    ignored = f"{others.total()} other files are ignored ({', '.join(sorted(map(printable, others)))})."
    return Found(parts, notes=(ignored,) if others else ())


def _homes(place: Path) -> dict[str, Path]:
    """The folders of the parts; the place itself where there are only classes, of which one may be called train."""
    named = [(part, folder) for folder in _folders(place) if (part := part_named(folder.name))]
    if not any(_folders(folder) for _, folder in named):
        return {"train": place}
    homes = dict(named)
    if "train" not in homes or len(homes) < len(named):
        shown = ", ".join(folder.name for _, folder in named)
        raise ValueError(f"{place} has the parts {shown}; expected train, and one of test and val at most each.")
    return homes


def _part(home: Path, others: Counter[str]) -> tuple[Files, list[str]]:
    paths, labels = [], []
    for folder in _folders(home):
        mine = sorted(_pictures(folder, others))
        if not mine:
            raise ValueError(f"{printable(str(folder))} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
        paths += mine
        labels += [folder.name] * len(mine)
    if not paths:
        raise ValueError(f"{home} has no folder for each class; expected {EXPECTED}.")
    return Files(paths, home), labels


def _folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _pictures(folder: Path, others: Counter[str]) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES and not name.startswith("."):
                yield Path(where, name)
            elif not name.startswith("."):
                others[suffix or name] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


_PATHS = ("path", "file_name", "filename", "image")


def read_table(table: Path, root: Path | None = None) -> Found:
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
