"""Installed versions, from package metadata: torch is not imported."""

import platform
from functools import cache

from .. import __version__
from .optional import installed

__all__ = ["about", "check_torch"]

OLDEST_TORCH = (2, 9)


def about() -> str:
    """Return one line with the versions that a bug report needs."""
    return f"advdistill {__version__}, torch {_torch() or 'of unknown version'}, Python {platform.python_version()}"


@cache
def check_torch() -> None:
    """Raise ImportError if torch is too old, with the command that installs a newer one."""
    found, oldest = _torch(), ".".join(map(str, OLDEST_TORCH))
    if found and tuple(map(int, found.split(".")[:2])) < OLDEST_TORCH:
        raise ImportError(f'torch {found} is too old, {oldest} or newer is needed; type: pip install "torch>={oldest}"')


def _torch() -> str | None:
    return installed("torch").get("torch")
