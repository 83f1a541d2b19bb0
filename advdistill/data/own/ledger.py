"""What is remembered of image files from one start to the next: their sha256, and how a look at all of them ended."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..._internal.cache import writable
from ..._internal.files import sha256, write_atomic
from ..folders import places
from .encoded import Files
from .pictures import Look, Unreadable

__all__ = ["Ledger", "Recorded"]

_READERS = 8  # threads: they wait for the disk
_FORMAT = 1
_UNREAD = [0, 0, ""]  # its reason is found where it is read


class Ledger:
    """A file in the cache, one for each folder or table; a damaged one is begun anew.

    Attributes:
        passes: by what was looked at, what came out.
    """

    def __init__(self, reference: str):
        name = hashlib.sha256(os.path.abspath(reference).encode(errors="surrogateescape")).hexdigest()[:16]
        self.path = places("streamed", None)[-1] / f"{name}.json"
        self.lock = self.path.with_suffix(".lock")
        writable(self.path.parent, "data")
        self.read()

    def read(self) -> None:
        content = _read(self.path)
        self.files, self.passes = content["files"], content["passes"]
        self._met: dict[str, list[Any]] = {}

    def row(self, path: Path) -> list[Any]:
        """Size, time of the last change in nanoseconds, sha256: as remembered where size and time are the same."""
        found = path.stat()
        stamp, known = [found.st_size, found.st_mtime_ns], self.files.get(str(path), [])
        if known[:2] != stamp:
            known = [*stamp, sha256(path)]
        self._met[str(path)] = known
        return known

    def keep(self) -> None:
        """Remember the files met since `read`, and no others."""
        if self._met != self.files:
            self.files = self._met
            self.write()

    def write(self) -> None:
        text = json.dumps({"format": _FORMAT, "files": self.files, "passes": self.passes})
        write_atomic(self.path, lambda temporary: temporary.write_text(text), size=len(text))


class Recorded:
    """Picture files as they are at the start; one that changes afterwards is unreadable."""

    def __init__(self, files: Files, ledger: Ledger):
        self.files, self.names = files, files.names
        with ThreadPoolExecutor(_READERS) as threads:
            rows = list(threads.map(lambda path: _row(path, ledger), files.paths))
        self.stamps = np.array([row[:2] for row in rows], np.int64)  # arrays, which a fork need not copy
        self.sums = np.array([row[2] for row in rows], "S64")

    def look(self, i: int) -> Look:
        return self._unchanged(i).look(i)

    def pixels(self, i: int) -> np.ndarray:
        return self._unchanged(i).pixels(i)

    def content(self, i: int) -> str:
        return self.sums[i].decode() or self.files.content(i)

    def digest(self, index: np.ndarray, labels: np.ndarray) -> str:
        """Names these files in this order under these labels."""
        return hashlib.sha256(self.sums[index].tobytes() + labels.tobytes()).hexdigest()

    def _unchanged(self, i: int) -> Files:
        if self.sums[i]:
            try:
                found = self.files.paths[i].stat()
            except OSError:
                raise Unreadable("no such file") from None
            if (found.st_size, found.st_mtime_ns) != tuple(self.stamps[i]):
                raise Unreadable("changed")
        return self.files


def _row(path: Path, ledger: Ledger) -> list[Any]:
    try:
        return ledger.row(path) if path.is_file() and path.stat().st_size else _UNREAD
    except OSError:
        return _UNREAD


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
        whole = content["format"] == _FORMAT and all(isinstance(content[key], dict) for key in ("files", "passes"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    return content if whole else {"files": {}, "passes": {}}
