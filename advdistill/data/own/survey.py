"""A look at every picture before anything is trained on them."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from .collection import Collection
from .pictures import Look, Unreadable

__all__ = ["Survey", "survey"]


@dataclass(frozen=True)
class Survey:
    """What a collection holds.

    Attributes:
        counts: images of each class, by part.
        looks: of the images that can be read.
        faults: names of those that cannot, and why.
        repeated: images whose pixels an earlier one of the same part has, by part.
        shared: test images whose pixels are in the training part, too.
        disputed: different images that stand under more than one class.
    """

    collection: Collection
    counts: dict[str, tuple[int, ...]]
    looks: tuple[Look, ...]
    faults: tuple[tuple[str, str], ...]
    repeated: dict[str, int]
    shared: int
    disputed: int

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images there are of each (height, width)."""
        return Counter((look.height, look.width) for look in self.looks)


def survey(collection: Collection) -> Survey:
    """Decode each picture, one at a time."""
    looks, faults = [], []
    seen: dict[str, Counter[bytes]] = {split: Counter() for split in collection.parts}
    classes = defaultdict(set)
    for split, part in collection.parts.items():
        for i, label in zip(part.index, part.labels, strict=True):
            try:
                look, pixels = part.pictures.look(i), part.pictures.pixels(i)
            except Unreadable as error:
                faults.append((part.pictures.names[i], str(error)))
                continue
            looks.append(look)
            key = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()
            seen[split][key] += 1
            classes[key].add(label)
    return Survey(
        collection,
        {split: _count(part.labels, collection.classes) for split, part in collection.parts.items()},
        tuple(looks),
        tuple(sorted(faults)),
        {split: found.total() - len(found) for split, found in seen.items()},
        sum(n for key, n in seen["test"].items() if key in seen["train"]),
        sum(len(labels) > 1 for labels in classes.values()),
    )


def _count(labels: np.ndarray, classes: tuple[str, ...]) -> tuple[int, ...]:
    found = Counter(labels.tolist())
    return tuple(found[label] for label in range(len(classes)))
