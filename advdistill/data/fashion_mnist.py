"""Fashion-MNIST: 28 x 28 grey images of clothes, from its four IDX files.

IDX is the file format of MNIST: a magic number, big-endian sizes, then unsigned bytes.
Reference: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms.
2017, arXiv:1708.07747.
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .source import Dataset, Folder, contains, missing, places

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_HOW = "apt install dataset-fashion-mnist, or the four files from github.com/zalandoresearch/fashion-mnist"


def _read(split: str, folder: Folder) -> tuple[Tensor, Tensor]:
    images_file, labels_file = _locate(split, folder)
    images = torch.from_numpy(read_idx(images_file, dims=3))
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_file} holds images of {list(images.shape[1:])} pixels, expected [28, 28].")
    return images[:, None], torch.from_numpy(read_idx(labels_file, dims=1)).long()


def _locate(split: str, folder: Folder) -> list[Path]:
    searched = places("fashion_mnist", folder)
    for place in searched if folder else [*searched, _DEBIAN]:
        for suffix in ("", ".gz"):
            files = [file + suffix for file in _FILES[split]]
            if contains(place, files):
                return [place / file for file in files]
    raise missing("fashion_mnist", searched[0 if folder else -1], files, f"Get them: {_HOW}.")


FASHION_MNIST = Dataset(
    name="fashion_mnist",
    classes=tuple(
        "T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot".split(", ")
    ),
    shape=(1, 28, 28),
    sizes={"train": 60_000, "test": 10_000},
    source="Zalando Research",
    how=_HOW,
    read=_read,
)


_UNSIGNED_BYTE = 8
_PIECE = 2**20
_DEFLATE_LIMIT = 1032  # no gzip file expands by a larger factor
_MOST = 2**28  # bytes unpacked; Fashion-MNIST and MNIST have 47 million


def read_idx(path: Path, dims: int) -> np.ndarray:
    """Read a plain or `.gz` IDX file of unsigned bytes.

    Returns:
        A uint8 array of `dims` dimensions.

    Raises:
        ValueError: not an IDX file, or its length differs from what its header says.
    """
    packed = path.suffix == ".gz"
    size = path.stat().st_size
    room = min(_DEFLATE_LIMIT * size, _MOST) if packed else size
    with gzip.open(path) if packed else path.open("rb") as stream:
        try:
            return _parse(stream, dims, room)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is not a complete IDX file: {error}") from error


def _parse(stream: BufferedIOBase, dims: int, room: int) -> np.ndarray:
    shape = _header(stream, dims)
    count = math.prod(shape)
    if not 0 < count <= room:
        raise ValueError(f"its header announces {count} bytes, more than this file can contain.")
    data = np.empty(count, np.uint8)  # memory grows with the bytes read, not with what the header announces
    found = _fill(data.data, stream)
    if found < count or stream.read(1):
        raise ValueError(f"its header announces {count} bytes, the file has {found if found < count else 'more'}.")
    return data.reshape(shape)


def _fill(data: memoryview, stream: BufferedIOBase) -> int:
    """Fill `data` from the stream and return the number of bytes read."""
    found = 0
    while read := stream.readinto(data[found : found + _PIECE]):
        found += read
    return found


def _header(stream: BufferedIOBase, dims: int) -> tuple[int, ...]:
    header = stream.read(4 + 4 * dims)
    if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dims]) or len(header) != 4 + 4 * dims:
        raise ValueError(f"it does not start as one of {dims} dimension(s) of bytes.")
    return struct.unpack(f">{dims}I", header[4:])
