"""The cache of downloads and of decoded images: `~/.cache/advdistill`, or a folder given in the environment."""

import os
import tempfile
from pathlib import Path
from typing import Literal

__all__ = ["cache", "writable"]

Kind = Literal["data", "models"]


def cache(kind: Kind) -> Path:
    """Return `$ADVDISTILL_DATA` or `$ADVDISTILL_MODELS`, else `~/.cache/advdistill/data` or `models`.

    Raises ValueError if the environment names no folder and the user has no home folder.
    """
    try:
        return Path(os.environ.get(_variable(kind)) or f"~/.cache/advdistill/{kind}").expanduser()
    except RuntimeError:
        raise ValueError(
            f"There is no home folder for the cache of {kind}; name a folder: export {_variable(kind)}=FOLDER"
        ) from None


def writable(folder: Path, kind: Kind) -> Path:
    """Return the folder, created if needed. Raises OSError, with the variable to set, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OSError(f"Cannot write to {folder}: {error.strerror}; name a writable folder: "
                      f"export {_variable(kind)}=FOLDER") from error  # fmt: skip


def _variable(kind: Kind) -> str:
    return f"ADVDISTILL_{kind.upper()}"
