"""Unpacking of archives that nobody has to trust."""

import gzip
import platform
import tarfile
import zlib
from pathlib import Path

_LIMIT = 256 * 2**20
_LEAST = 2**16  # what a file counts, an empty one too: there is room for 4,096
_HEADER = 2**20  # what is read in one piece: blocks of content, and headers, which announce their own size
_FAULTS = (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, KeyError, IndexError, RecursionError)


class _Pieces(gzip.GzipFile):
    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _HEADER:
            raise tarfile.TarError("one of its headers is too large")
        return super().read(size)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` into `folder`.

    Raises:
        ValueError: the archive is damaged, larger than 256 MiB unpacked, or leads out of `folder`; or this Python is
            older than 3.11.4, which came with a safe way to unpack.
    """
    if not hasattr(tarfile, "data_filter"):
        old = f"Python {platform.python_version()} cannot unpack {archive} safely"
        raise ValueError(f"{old}; take 3.11.4 or newer, or unpack it yourself.")
    room = _LIMIT
    try:
        with _Pieces(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                room -= max(member.size, _LEAST)
                if room < 0:
                    raise tarfile.TarError(f"it grows too large at {member.name!r}")
                tar.extract(member, folder, filter="data")
    except _FAULTS as error:
        raise ValueError(f"{archive} cannot be unpacked: {error}.") from error
