"""Installed packages: their versions, from metadata, and optional packages, which extras of the installation bring."""

import importlib
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

__all__ = ["about", "check_torch", "installed", "require"]

OLDEST_TORCH = (2, 9)


def require(module: str, purpose: str, extra: str) -> ModuleType:
    """Import `module`, or raise ImportError with the feature that needs it and the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module.split(".")[0]
        raise ImportError(
            f'{purpose} needs the package {missing}; install it with: pip install "advdistill[{extra}]"'
        ) from error


def installed(*packages: str) -> dict[str, str]:
    """Return the versions of the given packages that are installed, by name."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def about() -> str:
    """Return one line with the versions that a bug report needs."""
    from .. import __version__

    return f"advdistill {__version__}, torch {_torch() or 'of unknown version'}, Python {platform.python_version()}"


@cache
def check_torch() -> None:
    """Raise ImportError if torch is too old, with the command that installs a newer one."""
    found, oldest = _torch(), ".".join(map(str, OLDEST_TORCH))
    if found and tuple(map(int, found.split(".")[:2])) < OLDEST_TORCH:
        raise ImportError(f'torch {found} is too old, {oldest} or newer is needed; type: pip install "torch>={oldest}"')


def _torch() -> str | None:
    return installed("torch").get("torch")
