"""Unpacking of archives that nobody has to trust."""

import gzip
import tarfile
import zlib
from pathlib import Path

_LIMIT = 256 * 2**20
_FAULTS = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` into `folder`.

    Raises:
        ValueError: the archive is damaged, larger than 256 MiB unpacked, or leads out of `folder`.
    """
    room = _LIMIT
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                room -= member.size
                if room < 0:
                    raise tarfile.TarError(f"it grows too large at {member.name!r}")
                tar.extract(member, folder, filter="data")
    except _FAULTS as error:
        raise ValueError(f"{archive} cannot be unpacked: {error}.") from error
