"""Atomic files: written to a temporary name in the same folder, synced, renamed."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "append", "drop_unfinished", "explained", "make_folder", "read_sealed", "sha256", "write_atomic", "write_json",
    "write_sealed",
]  # fmt: skip

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DAY = 86_400  # seconds
SEAL = hashlib.sha256().digest_size


def write_atomic(
    path: Path | str, write: Callable[[Path], object], *, size: int | None = None, keep: Path | None = None
) -> None:
    """Let `write` fill a temporary file, then rename it to `path`.

    Args:
        size: bytes needed, if known; named in the error of a full disk.
        keep: where an earlier file at `path` is moved. One of the two is intact at every moment.

    Raises:
        OSError: no space or no permission; an earlier file at `path` is unchanged.
    """
    path = Path(path)
    with explained(path, size):
        drop_unfinished(path, DAY)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        os.close(handle)
        _replace(path, Path(name), write, keep)


def _replace(path: Path, temporary: Path, write: Callable[[Path], object], keep: Path | None) -> None:
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        _sync(temporary)
        if keep:
            os.replace(path, keep)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: object) -> None:
    text = json.dumps(value, indent=2) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))


def write_sealed(path: Path, data: bytes | memoryview, keep: Path | None = None) -> None:
    """Write these bytes followed by their SHA-256, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(data)
            file.write(hashlib.sha256(data).digest())

    write_atomic(path, write, size=len(data) + SEAL, keep=keep)


def read_sealed(path: Path) -> io.BytesIO:
    """Return the bytes that `write_sealed` wrote, without a second copy in memory.

    Raises:
        ValueError: the file is missing or damaged.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing")
    if not path.is_file():  # reading a pipe could block forever
        raise ValueError(f"{path} is not a regular file")
    stream = io.BytesIO(path.read_bytes())
    with stream.getbuffer() as data:
        size = len(data)
        if hashlib.sha256(data[:-SEAL]).digest() != bytes(data[-SEAL:]):
            raise ValueError(f"{path} is damaged ({size} bytes that do not match their checksum)")
    stream.truncate(size - SEAL)
    return stream


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def append(path: Path, text: str) -> None:
    """Append to a file and sync it to the disk; a symbolic link is refused."""
    with explained(path, len(text)), os.fdopen(_unfollowed(path), "a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Create a folder if needed. Raises OSError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot create the folder {folder}: {error.strerror}; choose another folder.") from error


def drop_unfinished(path: Path, seconds: float = 0) -> None:
    """Remove temporary files of killed processes next to `path` that are at least `seconds` old.

    With `seconds=0`, call this only while no other process writes there.
    """
    named = re.compile(re.escape(_prefix(path)) + r"(?!lock)[a-z0-9_]+")  # as mkstemp names them
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        with suppress(FileNotFoundError):
            if named.fullmatch(left.name) and time.time() - left.lstat().st_mtime >= seconds:
                left.unlink()


@contextmanager
def explained(path: Path, size: int | None = None) -> Iterator[None]:
    """Add the file and, if the disk is full, the space needed and left to the message of an OSError."""
    try:
        yield
    except OSError as error:
        room = _room(path, size) if error.errno in FULL else ""
        what = error.strerror or error
        raise OSError(f"Cannot write {path}: {what}. An earlier file there is unchanged.{room}") from error


def _room(path: Path, size: int | None) -> str:
    needed = f"It needs {_megabytes(size)}; " if size else ""
    free = _megabytes(shutil.disk_usage(path.parent).free)
    return f" {needed}{free} are free on this disk. Free some space, then run the same command to resume."


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"


def _prefix(path: Path) -> str:
    return f".{path.name}."


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unfollowed(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
