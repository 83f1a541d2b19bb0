"""Optional packages, which the extras of advdistill install."""

import importlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

__all__ = ["installed", "require"]


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
