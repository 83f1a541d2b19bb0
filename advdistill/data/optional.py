"""Packages that only some datasets need."""

import importlib
from types import ModuleType


def require(module: str, purpose: str, extra: str = "data") -> ModuleType:
    """Import `module`, or say in one sentence what needs it and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs the package {error.name}; install it with: pip install "advdistill[{extra}]"'
        ) from error
