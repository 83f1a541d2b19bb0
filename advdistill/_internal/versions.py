"""Installed versions, from package metadata: torch is not imported."""

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from .. import __version__

__all__ = ["about", "check_torch", "installed"]

OLDEST_TORCH = (2, 9)


def about() -> str:
    """One line with the versions that a bug report needs."""
    return f"advdistill {__version__}, torch {_torch() or 'of unknown version'}, Python {platform.python_version()}"


@cache
def check_torch() -> None:
    """Raise ImportError where torch is too old, with the command that installs a newer one."""
    found, oldest = _torch(), ".".join(map(str, OLDEST_TORCH))
    if found and tuple(map(int, found.split(".")[:2])) < OLDEST_TORCH:
        raise ImportError(f'torch {found} is too old, {oldest} or newer is needed; type: pip install "torch>={oldest}"')


def installed(*packages: str) -> dict[str, str]:
    """The versions of those of the packages that are installed, by name."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _torch() -> str | None:
    return installed("torch").get("torch")
