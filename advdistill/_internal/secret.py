"""The user's secret: it distinguishes files that this package wrote for the user from files that came with a folder."""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["genuine", "key_problem", "tag"]

SIZE = 32  # bytes
VARIABLE = "ADVDISTILL_KEY"
_OF_THIS_PROCESS = secrets.token_bytes(SIZE)  # used if no file can be written


def tag(parts: Iterable[bytes]) -> str:
    """Return the HMAC-SHA-256 of bytes with the user's secret, in hexadecimal; create the secret if there is none."""
    found = hmac.new(_secret()[0], digestmod=hashlib.sha256)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def genuine(claimed: str | None, parts: Iterable[bytes]) -> bool:
    """Return whether `claimed` is the `tag` of these bytes with this user's secret."""
    return claimed is not None and hmac.compare_digest(claimed.encode(), tag(parts).encode())


def key_problem() -> str | None:
    """Return why the secret lasts no longer than this process, or `None` if it is in a file."""
    return _secret()[1]


def _secret() -> tuple[bytes, str | None]:
    try:
        file = Path(os.environ.get(VARIABLE) or "~/.cache/advdistill/key").expanduser()
        if not file.exists():
            _create(file)
        found = file.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return _OF_THIS_PROCESS, str(getattr(error, "strerror", None) or error)
    if len(found) != SIZE:
        raise ValueError(f"{file} is not a key of {SIZE} bytes, it has {len(found)}. Delete it; a new one is made.")
    return found, None


def _create(file: Path) -> None:
    """Write a new secret, readable only by the user; if another process is faster, its secret is used."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(SIZE))
        with suppress(FileExistsError):
            os.link(name, file)  # atomic, and never overwrites another secret
    finally:
        Path(name).unlink(missing_ok=True)
