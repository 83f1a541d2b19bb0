"""A user's own images, by a path, whose kind is detected, or by `folder:`, `npz:`, `csv:`, `parquet:` or `hf:`."""

import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..source import Folder
from ..split import Split
from ..streamed import Streamed
from . import arrow, hub
from .collection import Collection, Found
from .files import read_folder, read_npz, read_table
from .pictures import Unreadable
from .reading import Reading
from .stack import TooLarge, dark_warning, listed, stacked
from .streaming import streamable, streamed

__all__ = ["HELP", "Reading", "collect", "is_reference", "load"]

HELP = (
    "Your own images: give a path in place of a name. A folder DIR/CLASS/*.png (or DIR/train/CLASS, with test or "
    "val), a .npz, .csv, .tsv or .parquet, hf:OWNER/NAME or hf:OWNER/NAME/PATH. `advdistill init PATH` looks at them "
    "and writes recipes."
)
_KINDS = {".npz": "npz", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_PREFIX = re.compile(r"(folder|npz|csv|parquet|hf):(.+)", re.S)
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}


def is_reference(name: str) -> bool:
    """Return whether `name` may refer to a user's own data: it has a prefix, exists, or looks like a path."""
    return bool(_PREFIX.fullmatch(name) or re.search(r"[/\\]|^[~.]", name) or Path(name).suffix or _exists(Path(name)))


def load(reference: str, split: str, root: Folder, reading: Reading) -> Split:
    """Load one split of a user's own data; see `advdistill.data.load`."""
    if split not in ("train", "test", "val"):
        raise ValueError(f"Unknown split {split!r} of {reference}. Known: train, test, val.")
    name, found = _read_reference(reference, root, reading)
    if reading.skip_broken:
        found, skipped = _without_broken(name, found)
        print(*skipped, sep="\n", end="\n" if skipped else "", file=sys.stderr)
    if reading.stream:
        return _load_streamed(name, reference, found, split, reading)
    collection = Collection.of(name, found, validation=split == "val")
    _warn_if_dark(collection, reading)
    try:
        images = torch.from_numpy(stacked(collection, split, reading.size))
    except TooLarge as error:
        if reading.stream is False or not streamable(found):
            raise
        print(f"{error} That is done now.", file=sys.stderr)
        return _load_streamed(name, reference, found, split, reading)
    return _to_split(collection, split, images)


def _load_streamed(name: str, reference: str, found: Found, split: str, reading: Reading) -> Split:
    if not streamable(found):
        raise ValueError(f"{reference} is read as a whole; data.stream is for a folder or a table of image files.")
    collection, images = streamed(name, found, reading.size, reading.bits, validation=split == "val")
    return _to_split(collection, split, images[split])


def _warn_if_dark(collection: Collection, reading: Reading) -> None:
    if reading.bits is None and (sentence := dark_warning(collection)):
        warnings.warn(sentence, stacklevel=2)


def _without_broken(name: str, found: Found) -> tuple[Found, list[str]]:
    """Return the readable pictures, and a sentence that lists the others. Decodes every picture."""
    parts, faults = {}, []
    for part, (pictures, labels) in found.parts.items():
        whole = []
        for i in range(len(labels)):
            try:
                pictures.pixels(i)
                whole.append(i)
            except Unreadable as error:
                faults.append((pictures.names[i], str(error)))
        parts[part] = pictures.take(whole), [labels[i] for i in whole]
    total = sum(len(labels) for _, labels in found.parts.values())
    said = [f"{len(faults)} of {total} images of {name} cannot be read and are skipped: {listed(sorted(faults), 100)}."]
    return Found(parts, found.classes, (*found.notes, *(said if faults else ()))), said if faults else []


def _to_split(collection: Collection, split: str, images: Tensor | Streamed) -> Split:
    labels = torch.from_numpy(collection.parts[split].labels)
    return Split(images, labels, collection.classes, f"{collection.name}/{split}")


def collect(reference: str, root: Folder = None, reading: Reading | None = None) -> Collection:
    """Return the pictures that a reference names; they are decoded on access.

    Args:
        root: the folder of a table's pictures, if not the table's own folder.
        reading: options.

    Raises:
        ValueError: the data does not have the form that its kind requires.
        FileNotFoundError: there is no such file or folder.
        ConnectionError, ImportError: the Hugging Face hub is not reachable, or a package is missing.
    """
    reading = reading or Reading()
    name, found = _read_reference(reference, root, reading)
    if reading.skip_broken:
        found, _ = _without_broken(name, found)
    collection = Collection.of(name, found)
    sentence = None if reading.bits else dark_warning(collection)
    return replace(collection, notes=(*collection.notes, sentence)) if sentence else collection


def _read_reference(reference: str, root: Folder, reading: Reading) -> tuple[str, Found]:
    name = reference.rstrip("/") or reference
    prefix = _PREFIX.fullmatch(name)
    kind, where = prefix.groups() if prefix else (None, name)
    path = Path(where).expanduser()
    if kind == "hf" and not _exists(path) and hub.is_inside(where):
        kind, path = None, hub.fetch(where)
    if kind != "hf" and not _exists(path):
        raise FileNotFoundError(f"There is no file or folder {where}.")
    kind = kind or _kind_of_path(path)
    if root and kind != "csv":
        raise ValueError(f"{reference} is read where it is; leave out the folder {root}.")
    _check_kind(kind, path)
    match kind:
        case "folder":
            found = read_folder(path, reading)
        case "npz":
            found = read_npz(path, reading)
        case "csv":
            found = read_table(path, reading, Path(root).expanduser() if root else None)
        case "parquet":
            found = arrow.read_parquet(path, reading)
        case "hf":
            found = arrow.read_hugging_face(where if path == Path(where).expanduser() else str(path), reading)
    return name, found


def _kind_of_path(path: Path) -> str:
    if path.is_dir():
        if arrow.is_saved(path):
            return "hf"
        return "parquet" if [*path.glob("*.parquet"), *path.glob("data/*.parquet")] else "folder"
    if path.suffix.lower() in _KINDS:
        return _KINDS[path.suffix.lower()]
    if path.suffix.lower() in _ARCHIVES:
        raise ValueError(f"{path} is an archive; unpack it, and give the folder.")
    raise ValueError(f"{path} is neither a folder nor one of {', '.join(_KINDS)}.")


def _check_kind(kind: str, path: Path) -> None:
    """Raise ValueError if a prefix does not fit the path."""
    if kind == "folder" and not path.is_dir():
        raise ValueError(f"{path} is a file, not a folder.")
    if kind in ("npz", "csv") and not path.is_file():
        raise ValueError(f"{path} is not a file; {kind}: expects one.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or not text
        return False
