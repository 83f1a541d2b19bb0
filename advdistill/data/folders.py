"""Where datasets lie on disk."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .._internal.cache import cache, writable
from .dataset import Folder

_SHOWN = 6


def places(name: str, folder: Folder) -> list[Path]:
    """Where to look for a dataset, in order; the last is where it is put when fetched."""
    base = Path(folder).expanduser() if folder else cache("data")
    return [base, base / name]


def holds(place: Path, files: Sequence[str]) -> bool:
    return all((place / file).is_file() for file in files)


def missing(name: str, place: Path, files: Sequence[str], how: str) -> ValueError:
    """The error for a folder that is not the dataset: what was expected, what is there, what to do."""
    return ValueError(f"{name}: expected {', '.join(files)} in {place}; found {_content(place)}. {how}")


def _content(place: Path) -> str:
    if not place.is_dir():
        return "no such folder"
    content = sorted(entry.name for entry in place.iterdir())
    more = f" and {len(content) - _SHOWN} more" if len(content) > _SHOWN else ""
    return ", ".join(content[:_SHOWN]) + more or "an empty folder"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch into `folder` (made if needed); the others wait their turn."""
    import fcntl  # not on Windows, where only fetching is out of reach

    writable(folder, "data")
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    with os.fdopen(os.open(folder / ".lock", flags, 0o666)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
