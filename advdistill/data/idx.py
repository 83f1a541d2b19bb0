"""The IDX format of MNIST and its kin: a magic number, big-endian sizes, then unsigned bytes."""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

_UNSIGNED_BYTE = 8
_PIECE = 2**20
_DEFLATE_LIMIT = 1032  # no gzip file expands further than this
_MOST = 2**28  # bytes unpacked; MNIST's kin take 47 million


def read(path: Path, dims: int) -> np.ndarray:
    """Read a plain or `.gz` IDX file of unsigned bytes.

    Returns:
        A uint8 array of `dims` dimensions.

    Raises:
        ValueError: not such a file, or one whose length differs from what its header says.
    """
    packed = path.suffix == ".gz"
    size = path.stat().st_size
    room = min(_DEFLATE_LIMIT * size, _MOST) if packed else size
    with gzip.open(path) if packed else path.open("rb") as stream:
        try:
            return _parse(stream, dims, room)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is not a whole IDX file: {error}") from error


def _parse(stream: BufferedIOBase, dims: int, room: int) -> np.ndarray:
    shape = _header(stream, dims)
    count = math.prod(shape)
    if not 0 < count <= room:
        raise ValueError(f"its header promises {count} bytes, which this file cannot hold.")
    data = np.empty(count, np.uint8)  # takes memory as it is filled, not as the header promises
    found = _fill(data.data, stream)
    if found < count or stream.read(1):
        raise ValueError(f"its header promises {count} bytes, it has {found if found < count else 'more'}.")
    return data.reshape(shape)


def _fill(data: memoryview, stream: BufferedIOBase) -> int:
    """The number of bytes that there were."""
    found = 0
    while read := stream.readinto(data[found : found + _PIECE]):
        found += read
    return found


def _header(stream: BufferedIOBase, dims: int) -> tuple[int, ...]:
    header = stream.read(4 + 4 * dims)
    if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dims]) or len(header) != 4 + 4 * dims:
        raise ValueError(f"it does not start as one of {dims} dimension(s) of bytes.")
    return struct.unpack(f">{dims}I", header[4:])
