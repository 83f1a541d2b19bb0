"""One's own image files as a stream: looked at once, and from then on decoded batch by batch."""

import sys
import time
from datetime import timedelta
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock

from ..._internal.optional import require
from ..streamed import Faults, Streamed
from .collection import Collection, Found
from .encoded import Files
from .ledger import Ledger, Recorded
from .pictures import Pictures, Unreadable
from .stack import fitted, form, looks, refusal, unreadable

__all__ = ["streamable", "streamed"]

QUIET = 10  # seconds between two reports of the first look


def streamable(found: Found) -> bool:
    """Whether these are files, each of which can be read by itself."""
    return all(isinstance(pictures, Files) for pictures, _ in found.parts.values())


def streamed(name: str, found: Found, size: int | None) -> tuple[Collection, dict[str, Streamed]]:
    """The collection, and the images of each part.

    The first time every image is decoded; its outcome is remembered, and holds until a file changes.

    Raises:
        ValueError: images that cannot be read, all of them counted; of several sizes without `size`.
    """
    ledger = Ledger(name)
    with FileLock(ledger.lock):  # of several processes the first one looks
        ledger.read()
        files = {part: cast(Files, pictures) for part, (pictures, _) in found.parts.items()}
        parts = {part: (Recorded(files[part], ledger), labels) for part, (_, labels) in found.parts.items()}
        collection = Collection.of(name, Found(parts, found.classes, found.notes))
        ledger.keep()
        key = _key(collection, size)
        outcome = ledger.passes.get(key) or _first_look(collection, size)
        if key not in ledger.passes:
            ledger.passes[key] = outcome
            ledger.write()
    images = _images(collection, tuple(outcome["shape"]), size)
    for part, known in outcome["fingerprints"].items():
        images[part].fingerprints |= known
    return collection, images


def _key(collection: Collection, size: int | None) -> str:
    """Names everything that the outcome depends on, Pillow too: its JPEG may change by a bit."""
    version = require("PIL", "Reading images", "data").__version__
    digests = [cast(Recorded, part.pictures).digest(part.index, part.labels) for part in collection.parts.values()]
    return " ".join([version, str(size), *digests])


def _images(collection: Collection, shape: tuple[int, int, int], size: int | None) -> dict[str, Streamed]:
    return {
        name: Streamed(partial(_decode, part.pictures, shape, size), part.index, shape, f"{collection.name}/{name}")
        for name, part in collection.parts.items()
    }


def _decode(
    pictures: Pictures, shape: tuple[int, int, int], size: int | None, places: np.ndarray
) -> tuple[np.ndarray, Faults]:
    images, faults = np.zeros((len(places), *shape), np.uint8), []
    for image, i in zip(images, places, strict=True):
        try:
            image[:] = fitted(pictures.pixels(i), size)
        except Unreadable as error:
            faults.append((pictures.names[i], str(error)))
    return images, faults


def _first_look(collection: Collection, size: int | None) -> dict[str, Any]:
    """The shape of the images, and the fingerprint of each part."""
    try:
        shape = form(collection, [look for _, look in looks(collection)], size)
    except Unreadable:
        raise refusal(collection, unreadable(collection)) from None
    images, faults = _images(collection, shape, size), []
    progress = _Progress(collection)

    def met(count: int, found: Faults) -> None:
        faults.extend(found)
        progress.add(count)

    for name, part in collection.parts.items():
        images[name].fingerprint(torch.from_numpy(part.labels), met)
    if faults:
        raise refusal(collection, sorted(faults))
    return {"shape": shape, "fingerprints": {name: images[name].fingerprints for name in images}}


class _Progress:
    """Lines on the standard error, of a look that takes long."""

    def __init__(self, collection: Collection):
        self.name, self.total, self.done = collection.name, len(collection), 0
        self.began = self.said = time.monotonic()

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said > QUIET:
            left = timedelta(seconds=round((now - self.began) / self.done * (self.total - self.done)))
            print(
                f"{self.name}: {self.done} of {self.total} images looked at, about {left} left",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            self.said = now
