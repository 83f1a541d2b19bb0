"""Read files: a folder `DIR/train/CLASS/*` with `test` or `val`, or `DIR/CLASS/*`; a table of paths; an `.npz`."""

import csv
import os
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..._internal.reading import printable
from .collection import Found
from .pictures import FOREIGN, SUFFIXES, Arrays, Files, Unreadable, from_16_bits, printable_name
from .reading import Reading
from .stack import check_room

__all__ = ["read_folder", "read_npz", "read_table"]

EXPECTED_FOLDERS = "DIR/CLASS/picture.png, or DIR/train/CLASS/picture.png with DIR/test or DIR/val"


def read_folder(place: Path, reading: Reading) -> Found:
    """Read a folder of pictures. Raises ValueError if the folder has another form."""
    homes = _part_folders(place, reading)
    parts, others = {}, Counter[str]()
    for part, home in homes.items():
        parts[part] = _folder_part(home, others, reading.bits)
    ignored = f"{others.total()} other files are ignored ({', '.join(sorted(map(printable_name, others)))})."
    return Found(parts, notes=(ignored,) if others else ())


def _part_folders(place: Path, reading: Reading) -> dict[str, Path]:
    """Return the folders of the parts, or `place` itself if it has only classes, one of which may be called train."""
    named = [(part, folder) for folder in _subfolders(place) if (part := reading.part(folder.name))]
    if not any(_subfolders(folder) for _, folder in named):
        return {"train": place}
    homes = dict(named)
    if "train" not in homes or len(homes) < len(named):
        shown = ", ".join(folder.name for _, folder in named)
        raise ValueError(f"{place} has the parts {shown}; expected train, and one of test and val at most each.")
    return homes


def _folder_part(home: Path, others: Counter[str], bits: int | None) -> tuple[Files, list[str]]:
    paths, labels = [], []
    for folder in _subfolders(home):
        mine = sorted(_picture_files(folder, others))
        if not mine:
            raise ValueError(f"{printable_name(str(folder))} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
        paths += mine
        labels += [folder.name] * len(mine)
    if not paths:
        raise ValueError(f"{home} has no folder for each class; expected {EXPECTED_FOLDERS}.")
    return Files(paths, home, bits), labels


def _subfolders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _picture_files(folder: Path, others: Counter[str]) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES | FOREIGN and not name.startswith("."):
                yield Path(where, name)
            elif not name.startswith("."):
                others[suffix or name] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


_PATH_COLUMNS = ("path", "file_name", "filename", "image")


def read_table(table: Path, reading: Reading, root: Path | None = None) -> Found:
    """Read a table of paths relative to `root` or the table's folder. Raises ValueError if it has another form."""
    root = root or table.parent
    found: dict[str, tuple[list[Path], list[str]]] = {}
    for line, row in _table_rows(table, reading):
        part = reading.part(row["split"]) if row["split"] else "train"
        if part is None:
            raise ValueError(f"{table}, line {line}: split is {row['split']!r}; expected train, test or val.")
        paths, labels = found.setdefault(part, ([], []))
        paths.append(_path_below(root, row["path"], f"{table}, line {line}"))
        labels.append(row["label"])
    return Found({part: (Files(paths, root, reading.bits), labels) for part, (paths, labels) in found.items()})


def _table_rows(table: Path, reading: Reading) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows of `path`, `label` and `split`."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            separator = "\t" if table.suffix.lower() == ".tsv" else _separator(stream.readline())
            stream.seek(0)
            lines = csv.reader(stream, delimiter=separator)
            columns = _table_columns(table, next(lines, []), reading)
            for cells in filter(None, lines):
                row = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
                if not row["path"] or not row["label"]:
                    raise ValueError(f"{table}, line {lines.line_num}: expected a path and a label, got {cells[:4]!r}.")
                yield lines.line_num, {"split": ""} | row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a table of text: {error}.") from None


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _table_columns(table: Path, header: list[str], reading: Reading) -> dict[str, int]:
    given, names = [name.strip() for name in header], [name.strip().lower() for name in header]
    columns = {"split": names.index("split")} if "split" in names else {}
    for what, usual, named in (
        ("path", _PATH_COLUMNS, reading.column("image", given, str(table))),
        ("label", ("label",), reading.column("label", given, str(table))),
    ):
        at = given.index(named) if named else next((names.index(name) for name in usual if name in names), None)
        if at is None:
            shown = printable_name(", ".join(names[:8])) or "nothing"
            raise ValueError(f"{table} must begin with the columns path, label and perhaps split; it begins with: "
                             f"{shown}. Name others: data.image_column, data.label_column.")
        columns[what] = at
    return columns


def _path_below(root: Path, path: str, where: str) -> Path:
    full = Path(os.path.normpath(root / path))
    if not full.is_relative_to(os.path.normpath(root)):
        raise ValueError(f"{where}: {path!r} leads out of {root}. Give a folder that holds all: --data.folder FOLDER.")
    return full


_EXPECTED_ARRAYS = "x_train, y_train, x_test and y_test; train_images, train_labels and so on; or images and labels"
_NPZ_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError, OSError, EOFError,
    KeyError, IndexError, TypeError, OverflowError, MemoryError, RuntimeError,  # by numpy, or encrypted entries
)  # fmt: skip


def read_npz(path: Path, reading: Reading) -> Found:
    """Read an `.npz`. Raises ValueError for other arrays, pickled objects or an incomplete file."""
    try:
        # opened here, as numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pairs = dict(_npz_keys(arrays.files, reading))
            if "train" not in pairs:
                raise ValueError(f"it has {', '.join(arrays.files[:8]) or 'nothing'}; expected {_EXPECTED_ARRAYS}; "
                                 "or name them: data.image_column, data.label_column (x_{split} for several parts)")
            return Found({part: _npz_part(path, arrays, keys, reading.bits) for part, keys in pairs.items()})
    except (ValueError, AttributeError, *_NPZ_FAULTS) as error:
        raise ValueError(f"{path} cannot be read: {printable(error, 400)}") from None


_PAIRS = (("x_{split}", "y_{split}"), ("{split}_images", "{split}_labels"), ("images_{split}", "labels_{split}"))


def _npz_keys(keys: list[str], reading: Reading) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each part with the keys of its images and labels."""
    named = reading.image_column, reading.label_column
    pairs = (tuple(name or "" for name in named),) if any(named) else _PAIRS
    for part, word in (("train", "train"), ("test", "test"), ("val", reading.validation or "val")):
        for images, labels in pairs:
            pair = images.replace("{split}", word), labels.replace("{split}", word)
            if set(pair) <= set(keys) and (part == "train" or "{split}" in images):
                yield part, pair
                break
    if any(named):
        return
    if {"images", "labels"} <= set(keys):
        yield "train", ("images", "labels")


def _npz_part(
    path: Path, arrays: Mapping[str, np.ndarray], keys: tuple[str, str], bits: int | None
) -> tuple[Arrays, list[str]]:
    images_key, labels_key = keys
    for key in (images_key, labels_key):
        check_room(key, _npz_bytes(path, key))
    images, labels = _npz_images(images_key, arrays[images_key], bits), _npz_labels(labels_key, arrays[labels_key])
    if len(images) != len(labels):
        raise ValueError(f"{images_key} has {len(images)} images and {labels_key} {len(labels)} labels")
    return Arrays(images, images_key), labels


def _npz_bytes(path: Path, key: str) -> int:
    """Return the size of an array in bytes, from its header."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        old = version == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(stream)
    return int(np.prod(shape, dtype=object)) * kind.itemsize


def _npz_images(key: str, images: np.ndarray, bits: int | None) -> np.ndarray:
    """Return uint8 `[N, H, W, C]`."""
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"{key} has the shape {list(images.shape)}; expected [N, H, W], [N, H, W, C] or [N, C, H, W]")
    return _to_uint8(key, images[..., None] if images.ndim == 3 else _channels_last(key, images), bits)


def _channels_last(key: str, images: np.ndarray) -> np.ndarray:
    first, last = (images.shape[axis] in (1, 3, 4) for axis in (1, 3))
    if first == last:
        problem = "may be [N, H, W, C] or [N, C, H, W]" if first else "has not 1, 3 or 4 channels"
        raise ValueError(f"{key} of the shape {list(images.shape)} {problem}; expected [N, H, W, C] of larger images")
    return images.transpose(0, 2, 3, 1) if first else images


def _to_uint8(key: str, images: np.ndarray, bits: int | None) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind in "iu" and bits:
        try:
            return from_16_bits(images, bits)
        except Unreadable as error:
            raise ValueError(f"{key} has {error}") from None
    if images.dtype.kind == "f" and (images >= 0).all() and (images <= 1).all():  # false for NaN
        return np.rint(images * 255).astype(np.uint8)
    span = f" from {images.min():g} to {images.max():g}" if images.dtype.kind in "iuf" else ""
    advice = " (data.bits says how many bits are used, such as 12)" if images.dtype == np.uint16 else ""
    raise ValueError(f"{key} is {images.dtype}{span}; expected uint8 from 0 to 255, or floats in [0, 1]{advice}")


def _npz_labels(key: str, labels: np.ndarray) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        shape = list(labels.shape)
        raise ValueError(f"{key} is {labels.dtype} {shape}; expected whole numbers or text [N], one for each image")
    return [str(label) for label in labels]
