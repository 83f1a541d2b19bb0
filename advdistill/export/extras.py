"""Packages that only an export needs."""

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, extra: str = "export") -> ModuleType:
    """Import `module`, or say in one sentence what is missing and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = module.split(".")[0]
        raise ImportError(
            f'{missing} is needed for this and missing; install it with: pip install "advdistill[{extra}]"'
        ) from error
