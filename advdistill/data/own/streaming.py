"""Stream a user's own image files: all are decoded once at the start, and from then on batch by batch.

The index, a file in the cache, stores the sha256 of each file and the outcome of this first pass.
"""

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock

from ..._internal.cache import writable
from ..._internal.files import sha256, write_atomic
from ..._internal.packages import require
from ..source import places
from ..streamed import Faults, Streamed
from .collection import Collection, Found
from .pictures import Files, Header, Pictures, Unreadable
from .stack import common_shape, dark_warning, fitted, refusal, unreadable

__all__ = ["streamable", "streamed"]

QUIET = 10  # seconds between two reports of the first pass


def streamable(found: Found) -> bool:
    """Return whether the pictures are files, each of which can be read on its own."""
    return all(isinstance(pictures, Files) for pictures, _ in found.parts.values())


def streamed(
    name: str, found: Found, size: int | None, bits: int | None = None, validation: bool = False
) -> tuple[Collection, dict[str, Streamed]]:
    """Return the collection, and the images of each part.

    The first call decodes every image and stores the outcome, which holds until a file changes.

    Raises:
        ValueError: images cannot be read (the message counts all), or differ in size and `size` is not given.
    """
    index = Index(name)
    with FileLock(index.lock):  # of several processes, the first one decodes
        index.read()
        files = {part: cast(Files, pictures) for part, (pictures, _) in found.parts.items()}
        parts = {part: (UnchangedFiles(files[part], index), labels) for part, (_, labels) in found.parts.items()}
        collection = Collection.of(name, Found(parts, found.classes, found.notes), validation)
        index.forget_others()
        key = _pass_key(collection, size) + (f" bits {bits}" if bits else "")
        outcome = index.passes.get(key) or _first_pass(collection, size)
        if key not in index.passes:
            index.passes[key] = outcome
            index.write()
    if bits is None and outcome.get("dark"):
        warnings.warn(outcome["dark"], stacklevel=2)
    images = _streamed_images(collection, tuple(outcome["shape"]), size)
    for part, known in outcome["fingerprints"].items():
        images[part].fingerprints |= known
    return collection, images


def _pass_key(collection: Collection, size: int | None) -> str:
    """Return a key of what the outcome depends on, Pillow's version too: its JPEG decoding may change by a bit."""
    version = require("PIL", "Reading images", "data").__version__
    parts = collection.parts.values()
    digests = [cast(UnchangedFiles, part.pictures).digest(part.index, part.labels) for part in parts]
    return " ".join([version, str(size), *digests])


def _streamed_images(collection: Collection, shape: tuple[int, int, int], size: int | None) -> dict[str, Streamed]:
    name = collection.name
    return {
        split: Streamed(partial(_decode_batch, part.pictures, shape, size), part.index, shape, f"{name}/{split}")
        for split, part in collection.parts.items()
    }


def _decode_batch(
    pictures: Pictures, shape: tuple[int, int, int], size: int | None, places: np.ndarray
) -> tuple[np.ndarray, Faults]:
    images, faults = np.zeros((len(places), *shape), np.uint8), []
    for image, i in zip(images, places, strict=True):
        try:
            image[:] = fitted(pictures.pixels(i), size)
        except Unreadable as error:
            faults.append((pictures.names[i], str(error)))
    return images, faults


def _first_pass(collection: Collection, size: int | None) -> dict[str, Any]:
    """Decode all images; return their shape, the sentence of `dark_warning`, and the fingerprints of each part."""
    try:
        shape = common_shape(collection, size)
    except Unreadable:
        raise refusal(collection, unreadable(collection)) from None
    images, faults = _streamed_images(collection, shape, size), []
    progress = _Progress(collection)

    def on_batch(count: int, found: Faults) -> None:
        faults.extend(found)
        progress.add(count)

    for name, part in collection.parts.items():
        images[name].fingerprint(torch.from_numpy(part.labels), on_batch)
    if faults:
        raise refusal(collection, sorted(faults))
    known = {"shape": shape, "dark": dark_warning(collection)}
    return known | {"fingerprints": {name: images[name].fingerprints for name in images}}


class _Progress:
    """Print progress to standard error every ten seconds."""

    def __init__(self, collection: Collection):
        self.name, self.total, self.done = collection.name, len(collection), 0
        self.began = self.reported = time.monotonic()

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.reported > QUIET:
            left = timedelta(seconds=round((now - self.began) / self.done * (self.total - self.done)))
            print(
                f"{self.name}: {self.done} of {self.total} images decoded, about {left} left",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            self.reported = now


_READERS = 8  # threads: they wait for the disk
_FORMAT = 1
_UNREAD = [0, 0, ""]  # of an unreadable file; the reason is found when it is read


class Index:
    """A file in the cache, one for each folder or table; a damaged file is replaced.

    Attributes:
        passes: outcomes of first passes, by a key that starts with `_pass_key`.
    """

    def __init__(self, reference: str):
        name = hashlib.sha256(os.path.abspath(reference).encode(errors="surrogateescape")).hexdigest()[:16]
        self.path = places("streamed", None)[-1] / f"{name}.json"
        self.lock = self.path.with_suffix(".lock")
        writable(self.path.parent, "data")
        self.read()

    def read(self) -> None:
        content = _read_index(self.path)
        self.files, self.passes = content["files"], content["passes"]
        self._requested: dict[str, list[Any]] = {}

    def row(self, path: Path) -> list[Any]:
        """Return size, time of the last change in nanoseconds and sha256, recomputed only if size or time differ."""
        found = path.stat()
        stamp, known = [found.st_size, found.st_mtime_ns], self.files.get(str(path), [])
        if known[:2] != stamp:
            known = [*stamp, sha256(path)]
        self._requested[str(path)] = known
        return known

    def forget_others(self) -> None:
        """Keep only the files asked for since `read`."""
        if self._requested != self.files:
            self.files = self._requested
            self.write()

    def write(self) -> None:
        text = json.dumps({"format": _FORMAT, "files": self.files, "passes": self.passes})
        write_atomic(self.path, lambda temporary: temporary.write_text(text), size=len(text))


class UnchangedFiles:
    """Picture files as they were at the start; a file that changes afterwards is unreadable."""

    def __init__(self, files: Files, index: Index):
        self.files, self.names = files, files.names
        with ThreadPoolExecutor(_READERS) as threads:
            rows = list(threads.map(lambda path: _index_row(path, index), files.paths))
        self.stamps = np.array([row[:2] for row in rows], np.int64)  # arrays, which a fork need not copy
        self.sums = np.array([row[2] for row in rows], "S64")

    def header(self, i: int) -> Header:
        return self._unchanged(i).header(i)

    def pixels(self, i: int) -> np.ndarray:
        return self._unchanged(i).pixels(i)

    def content(self, i: int) -> str:
        return self.sums[i].decode() or self.files.content(i)

    def take(self, chosen: Sequence[int]) -> Pictures:
        """Return the pictures at these indices, without the check for changes."""
        return self.files.take(chosen)

    def digest(self, index: np.ndarray, labels: np.ndarray) -> str:
        """Return a hash of these files in this order with these labels."""
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


def _index_row(path: Path, index: Index) -> list[Any]:
    try:
        return index.row(path) if path.is_file() and path.stat().st_size else _UNREAD
    except OSError:
        return _UNREAD


def _read_index(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
        whole = content["format"] == _FORMAT and all(isinstance(content[key], dict) for key in ("files", "passes"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    return content if whole else {"files": {}, "passes": {}}
