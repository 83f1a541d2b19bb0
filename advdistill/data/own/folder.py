"""A folder of pictures: `DIR/train/CLASS/*` with `test` or `val` beside it, or `DIR/CLASS/*` alone."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .collection import Found, part_named
from .encoded import SUFFIXES, Files
from .pictures import printable

__all__ = ["EXPECTED", "read"]

EXPECTED = "DIR/CLASS/picture.png, or DIR/train/CLASS/picture.png with DIR/test or DIR/val"


def read(place: Path) -> Found:
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
