"""Import a user's `module:Name`. Only this module runs users' code, which can be forbidden."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from .messages import unknown

__all__ = ["absolute", "forbid", "import_object"]

SWITCH = "ADVDISTILL_NO_PYTHON_REFS"


def forbid() -> None:
    """Make `import_object` raise ValueError in this process and its child processes, by an environment variable."""
    os.environ[SWITCH] = "1"


def import_object(reference: str) -> object:
    """Import `package.module:Name` or `path/to/file.py:Name`; modules in the working directory are found.

    Raises ValueError if imports are forbidden, or if there is no such module or name.
    """
    location, _, name = reference.rpartition(":")
    if os.environ.get(SWITCH):
        raise ValueError(f"{reference!r} would run Python code, which --no-python-refs or {SWITCH} forbids.")
    if not location:
        raise ValueError(f"{reference!r} has no module; write my_module:{name} or path/to/file.py:{name}.")
    try:
        module = _module_from_file(Path(location)) if location.endswith(".py") else _module(location)
    except (ImportError, FileNotFoundError, TypeError, SyntaxError) as error:
        raise ValueError(f"Cannot import {location!r} for {reference!r}: {error}.") from error
    if not hasattr(module, name):
        raise unknown(f"name in {location!r}", name, (n for n in vars(module) if not n.startswith("_")))
    return getattr(module, name)


def absolute(reference: str) -> str:
    """Return the same reference, with an absolute path if it names a file."""
    location, _, name = reference.rpartition(":")
    return f"{Path(location).resolve()}:{name}" if location.endswith(".py") else reference


def _module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _module_from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader  # always there for a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module
