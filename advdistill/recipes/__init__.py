"""Recipes by name: `load("cifar10.rslad_resnet18")`. A recipe is a function that returns a `Recipe`."""

import inspect
from collections.abc import Callable
from pathlib import Path

from .._internal.messages import unknown
from .._internal.reading import read_text
from ..recipe import Recipe
from . import cifar10, cifar10_best, cifar10_mobilenet, cifar10_rivals, cifar100, digits, fashion_mnist, tiny_imagenet

__all__ = ["describe", "load", "names"]

MODULES = {
    "digits": [digits],
    "fashion_mnist": [fashion_mnist],
    "cifar10": [cifar10, cifar10_mobilenet, cifar10_rivals, cifar10_best],
    "cifar100": [cifar100],
    "tiny_imagenet": [tiny_imagenet],
}


def names() -> list[str]:
    """Return the names that `load` accepts.

    Returns:
        The names, as `DATASET.RECIPE`.

    >>> "digits.rslad" in names()
    True
    """
    return list(_recipe_functions())


def load(reference: str) -> Recipe:
    """Load a recipe by name, from a YAML file, or from a run's folder.

    Args:
        reference: one of `names()`, a path that ends in .yaml or .yml, or the folder of a run.

    Returns:
        The recipe; its `replace` returns a copy with other fields.

    Raises:
        ValueError: an unknown name, or a file that is not a recipe.
        FileNotFoundError: there is no such file.

    >>> load("cifar10.rslad_resnet18").epochs
    300
    """
    if Path(reference).is_dir() and reference not in _recipe_functions():
        reference = str(Path(reference, "recipe.yaml"))
    if reference.endswith((".yaml", ".yml")):
        return Recipe.from_yaml(_read_yaml(reference), reference)
    if reference not in _recipe_functions():
        raise unknown("recipe", reference, _recipe_functions())
    return _recipe_functions()[reference]()


def describe() -> list[dict[str, str]]:
    """List the recipes that have a name.

    Returns:
        For each recipe its `name` and, as `summary`, the first line of its docstring.

    >>> describe()[0]
    {'name': 'digits.teacher', 'summary': 'A robust teacher: convnet-24 by PGD-AT.'}
    """
    functions = _recipe_functions().items()
    return [{"name": name, "summary": (inspect.getdoc(f) or "").splitlines()[0]} for name, f in functions]


def _recipe_functions() -> dict[str, Callable[[], Recipe]]:
    """Return all recipe functions by name: the modules' public ones, and those that `digits` creates per method."""
    written = {
        f"{dataset}.{name}": function
        for dataset, modules in MODULES.items()
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
        if function.__annotations__.get("return") is Recipe
    }
    return written | {f"digits.{name}": function for name, function in digits.by_method().items()}


def _read_yaml(path: str) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no recipe file {path}.") from None
    except ValueError:
        raise ValueError(f"{path} is not a recipe: it is not text.") from None
