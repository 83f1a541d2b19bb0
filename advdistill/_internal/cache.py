"""The cache of downloads and of decoded images: `~/.cache/advdistill`, or where the environment says."""

import os
import tempfile
from pathlib import Path
from typing import Literal

__all__ = ["cache", "writable"]

Kind = Literal["data", "models"]


def cache(kind: Kind) -> Path:
    """`$ADVDISTILL_DATA` or `$ADVDISTILL_MODELS`, else `~/.cache/advdistill/data` or `models`.

    Raises ValueError where neither the environment names a folder nor the user has a home.
    """
    try:
        return Path(os.environ.get(_variable(kind)) or f"~/.cache/advdistill/{kind}").expanduser()
    except RuntimeError:
        raise ValueError(f"There is no home to keep {kind} in; name another: export {_variable(kind)}=FOLDER") from None


def writable(folder: Path, kind: Kind) -> Path:
    """The folder, made if need be. Raises OSError where it cannot be written, with the variable to set."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OSError(f"Cannot write to {folder}: {error.strerror}; name a folder where one can: "
                      f"export {_variable(kind)}=FOLDER") from error  # fmt: skip


def _variable(kind: Kind) -> str:
    return f"ADVDISTILL_{kind.upper()}"
