"""Files are whole or absent: written to a temporary name beside the target, synced, renamed."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_atomic", "write_json"]


def write_atomic(path: Path | str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`.

    Raises:
        OSError: no space or no permission; what stood at `path` before still stands.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        _replace(path, Path(name), write)
    except OSError as error:
        raise OSError(f"Cannot write {path}: {error.strerror}. What stood there before still stands.") from error


def _replace(path: Path, temporary: Path, write: Callable[[Path], None]) -> None:
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: object) -> None:
    text = json.dumps(value, indent=2) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
