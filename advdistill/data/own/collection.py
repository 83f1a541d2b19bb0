"""Pictures with their classes, in fixed training and test parts; and a survey of them."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .pictures import Header, Pictures, Unreadable, printable_name

__all__ = ["Collection", "Found", "Part", "Survey", "natural", "survey"]

TEST_SHARE = 0.2

@dataclass(frozen=True)
class Found:
    """The data that a reader found.

    Attributes:
        parts: the pictures and their class names, by part: `train`, and perhaps `test` and `val`.
        classes: the class names in order, if the data defines an order.
        notes: sentences for the user.
    """

    parts: Mapping[str, tuple[Pictures, Sequence[str]]]
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """The pictures at `index`, in that order, with labels int64 of the same length."""

    pictures: Pictures
    index: np.ndarray
    labels: np.ndarray

    def take(self, chosen: np.ndarray) -> "Part":
        return Part(self.pictures, self.index[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Collection:
    """A user's own data: parts `train`, `test` and perhaps `val`; class names in the order of the labels; notes."""

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, name: str, found: Found, validation: bool = False) -> "Collection":
        """Sort classes, divide into parts and shuffle.

        Without a test part, the part `val` is the test split. Without either, 20 % of each class's distinct pictures
        are held out, those with the lowest sha256: equal pictures stay together, and the choice depends on nothing
        else. Each part is shuffled, so that its first n pictures come from all classes.

        Args:
            validation: use the part `val` in addition to the test part, to choose the checkpoint.

        Raises:
            ValueError: no pictures, fewer than two classes, a class that is missing in a part, or, with `validation`,
                no part `val` or no part `test` of its own.
        """
        given, notes = dict(found.parts), list(found.notes)
        if "train" not in given:
            raise ValueError(f"{name} has no part called train, only {', '.join(given) or 'nothing'}.")
        if validation:
            _check_validation(name, given)
        held = None if validation else given.pop("val", None)
        if held and "test" in given:
            notes.append("The part val is not used: the checkpoint is chosen on images held out from train; "
                         "data.validation: val takes it instead.")
        elif held:
            given["test"] = held
            notes.append("The part val is the test split.")
        classes = _checked_classes(name, found.classes, {part: labels for part, (_, labels) in given.items()})
        parts = {part: _labelled_part(pictures, labels, classes) for part, (pictures, labels) in given.items()}
        if "test" not in parts:
            parts = _hold_out_test(name, parts["train"], classes)
            notes.append("20 % of each class are held out as the test split, by the images' sha256.")
        order = [part for part in ("train", "test", "val") if part in parts]
        shuffled: dict[str, Part] = {part: _shuffled(parts[part]) for part in order}
        return cls(name, classes, shuffled, tuple(notes))

    def __len__(self) -> int:
        return sum(len(part.index) for part in self.parts.values())


def _check_validation(name: str, given: Mapping[str, object]) -> None:
    if "val" not in given:
        raise ValueError(f"Unknown split 'val' of {name}. Known: train, test. Without a part val of its own, give "
                         "data.validation as a fraction of train, such as 0.1.")
    if "test" not in given:
        raise ValueError(f"{name} has no test part, so its part val is the test split; give data.validation as a "
                         "fraction of train, such as 0.1, or add a test part.")


def natural(name: str) -> tuple[list[int | str], str]:
    """Return a sort key that puts 2 before 10."""
    pieces = re.split("([0-9]+)", name)
    return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)], name


def _checked_classes(name: str, known: tuple[str, ...] | None, labels: dict[str, Sequence[str]]) -> tuple[str, ...]:
    present = {part: set(names) for part, names in labels.items()}
    classes = known or tuple(sorted(set().union(*present.values()), key=natural))
    for each in classes:
        if not each.isprintable() or not each.strip():
            raise ValueError(f"{name}: {each!r} cannot be the name of a class; give it one that can be printed.")
        for part in present:
            if each not in present[part]:
                what = f"class {printable_name(each)!r} has no images in {part}"
                raise ValueError(f"{name}: {what}; every part needs all the classes.")
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ValueError(f"{name} has the classes {', '.join(classes) or '(none)'}; expected two or more, distinct.")
    return classes


def _labelled_part(pictures: Pictures, labels: Sequence[str], classes: tuple[str, ...]) -> Part:
    place = {name: label for label, name in enumerate(classes)}
    return Part(pictures, np.arange(len(labels)), np.array([place[name] for name in labels], np.int64))


def _hold_out_test(name: str, everything: Part, classes: tuple[str, ...]) -> dict[str, Part]:
    # bytes: text would take four times the memory
    contents = np.array([_content_or_name(everything.pictures, i).encode() for i in everything.index])
    held = np.zeros(len(contents), bool)
    for label, each in enumerate(classes):
        mine = everything.labels == label
        different = np.unique(contents[mine])
        if len(different) < 2:
            what = f"class {printable_name(each)!r} has {len(different)} different image(s)"
            raise ValueError(f"{name}: {what}; a test part needs 2.")
        share = max(1, round(TEST_SHARE * len(different)))
        held |= mine & np.isin(contents, different[:share])
    return {"train": everything.take(~held), "test": everything.take(held)}


def _content_or_name(pictures: Pictures, i: int) -> str:
    try:
        return pictures.content(i)
    except Unreadable:
        return pictures.names[i]  # reported by name, with all the others, when the pictures are read


def _shuffled(part: Part) -> Part:
    # numpy never changes RandomState's stream (NEP 19)
    return part.take(np.random.RandomState(0).permutation(len(part.index)))


@dataclass(frozen=True)
class Survey:
    """The contents of a collection.

    Attributes:
        counts: number of images of each class, by part.
        headers: the headers of the readable images.
        faults: the names of unreadable images, and why.
        repeated: number of images with the pixels of an earlier image of the same part, by part.
        shared: number of test images whose pixels are also in the training part.
        conflicting_labels: number of distinct images that have more than one class.
    """

    collection: Collection
    counts: dict[str, tuple[int, ...]]
    headers: tuple[Header, ...]
    faults: tuple[tuple[str, str], ...]
    repeated: dict[str, int]
    shared: int
    conflicting_labels: int

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """The number of images of each (height, width)."""
        return Counter((header.height, header.width) for header in self.headers)


def survey(collection: Collection) -> Survey:
    """Survey a collection; pictures are decoded one at a time."""
    headers, faults = [], []
    digests: dict[str, Counter[bytes]] = {split: Counter() for split in collection.parts}
    classes = defaultdict(set)
    for split, part in collection.parts.items():
        for i, label in zip(part.index, part.labels, strict=True):
            try:
                header, pixels = part.pictures.header(i), part.pictures.pixels(i)
            except Unreadable as error:
                faults.append((part.pictures.names[i], str(error)))
                continue
            headers.append(header)
            key = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()
            digests[split][key] += 1
            classes[key].add(label)
    return Survey(
        collection,
        {split: _counts_by_class(part.labels, collection.classes) for split, part in collection.parts.items()},
        tuple(headers),
        tuple(sorted(faults)),
        {split: found.total() - len(found) for split, found in digests.items()},
        sum(n for key, n in digests["test"].items() if key in digests["train"]),
        sum(len(labels) > 1 for labels in classes.values()),
    )


def _counts_by_class(labels: np.ndarray, classes: tuple[str, ...]) -> tuple[int, ...]:
    found = Counter(labels.tolist())
    return tuple(found[label] for label in range(len(classes)))
