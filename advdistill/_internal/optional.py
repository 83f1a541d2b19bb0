"""Optional packages, which extras of the installation bring."""

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, purpose: str, extra: str) -> ModuleType:
    """Import `module`, or raise ImportError with the feature that needs it and the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module.split(".")[0]
        raise ImportError(
            f'{purpose} needs the package {missing}; install it with: pip install "advdistill[{extra}]"'
        ) from error
