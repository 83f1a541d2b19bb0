"""Arrays in an `.npz`: x_train, y_train, x_test, y_test, or images and labels."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..._internal.reading import printable
from .collection import Found
from .pictures import Arrays
from .stack import check_room

__all__ = ["read"]

_EXPECTED = "x_train, y_train, x_test and y_test; train_images, train_labels and so on; or images and labels"
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError, OSError, EOFError,
    KeyError, IndexError, TypeError, OverflowError, MemoryError, RuntimeError,  # of numpy, of encrypted entries
)  # fmt: skip


def read(path: Path) -> Found:
    """Raises ValueError for other arrays, for pickled objects, and for a file that is not whole."""
    try:
        # opened here, as numpy leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pairs = dict(_pairs(arrays.files))
            if "train" not in pairs:
                raise ValueError(f"it has {', '.join(arrays.files[:8]) or 'nothing'}; expected {_EXPECTED}")
            return Found({part: _part(path, arrays, *keys) for part, keys in pairs.items()})
    except (ValueError, AttributeError, *_FAULTS) as error:
        raise ValueError(f"{path} cannot be taken: {printable(error)}") from None


def _pairs(keys: list[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The keys of images and labels of each part."""
    for part in ("train", "test", "val"):
        for images, labels in (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("images_{}", "labels_{}")):
            pair = images.format(part), labels.format(part)
            if set(pair) <= set(keys):
                yield part, pair
                break
    if {"images", "labels"} <= set(keys):
        yield "train", ("images", "labels")


def _part(path: Path, arrays: Mapping[str, np.ndarray], images_key: str, labels_key: str) -> tuple[Arrays, list[str]]:
    for key in (images_key, labels_key):
        check_room(key, _size(path, key))
    images, labels = _images(images_key, arrays[images_key]), _labels(labels_key, arrays[labels_key])
    if len(images) != len(labels):
        raise ValueError(f"{images_key} has {len(images)} images and {labels_key} {len(labels)} labels")
    return Arrays(images, images_key), labels


def _size(path: Path, key: str) -> int:
    """The bytes of an array, by its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
    return int(np.prod(shape, dtype=object)) * kind.itemsize


def _images(key: str, images: np.ndarray) -> np.ndarray:
    """uint8 `[N, H, W, C]`."""
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"{key} has the shape {list(images.shape)}; expected [N, H, W], [N, H, W, C] or [N, C, H, W]")
    return _bytes(key, images[..., None] if images.ndim == 3 else _channels_last(key, images))


def _channels_last(key: str, images: np.ndarray) -> np.ndarray:
    first, last = (images.shape[axis] in (1, 3, 4) for axis in (1, 3))
    if first == last:
        problem = "may be [N, H, W, C] or [N, C, H, W]" if first else "has not 1, 3 or 4 channels"
        raise ValueError(f"{key} of the shape {list(images.shape)} {problem}; expected [N, H, W, C] of larger images")
    return images.transpose(0, 2, 3, 1) if first else images


def _bytes(key: str, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f" and (images >= 0).all() and (images <= 1).all():  # NaN is neither
        return np.rint(images * 255).astype(np.uint8)
    span = f" from {images.min():g} to {images.max():g}" if images.dtype.kind in "iuf" else ""
    raise ValueError(f"{key} is {images.dtype}{span}; expected uint8 from 0 to 255, or floats in [0, 1]")


def _labels(key: str, labels: np.ndarray) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        shape = list(labels.shape)
        raise ValueError(f"{key} is {labels.dtype} {shape}; expected whole numbers or text [N], one for each image")
    return [str(label) for label in labels]
