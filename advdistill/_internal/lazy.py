"""Names of a package that are imported on first use: `import advdistill` and `advdistill --help` do not load torch."""

import importlib
from collections.abc import Callable, Mapping

__all__ = ["lazy"]


def lazy(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: the package's name.
        places: for each public name, its definition below the package: `module.name`, or `module` for a module itself.
    """

    def get(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from .packages import check_torch

        check_torch()
        module, _, attribute = places[name].rpartition(".")
        found = importlib.import_module(f".{module or attribute}", package)
        return getattr(found, attribute) if module else found

    return get, lambda: sorted(places)
