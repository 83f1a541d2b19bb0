"""Names that users type: a wrong one is answered with the nearest right one; `module:Class` names their own."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["absolute", "import_object", "unknown"]


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of `known`."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"Unknown {what} {name!r}.{hint} Known: {', '.join(known)}.")


def import_object(reference: str) -> object:
    """Import `package.module:Name` or `path/to/file.py:Name`; modules in the working directory are found."""
    location, _, name = reference.rpartition(":")
    try:
        module = _module_from_file(Path(location)) if location.endswith(".py") else _module(location)
        return getattr(module, name)
    except (ImportError, FileNotFoundError) as error:
        raise ValueError(f"Cannot import {location!r} for {reference!r}: {error}.") from error
    except AttributeError:
        raise unknown(f"name in {location!r}", name, (n for n in vars(module) if not n.startswith("_"))) from None


def absolute(reference: str) -> str:
    """The same reference, found from any working directory if it names a file."""
    location, _, name = reference.rpartition(":")
    return f"{Path(location).resolve()}:{name}" if location.endswith(".py") else reference


def _module(name: str):
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _module_from_file(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
