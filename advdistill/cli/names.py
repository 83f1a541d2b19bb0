"""Check names of recipes, methods, models, data, optimizers and suites before torch is imported. Most lists of valid
names are parsed from the package's source files, which are not executed."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from .._internal.messages import unknown, unknown_kind
from ..methods import REGISTRY

__all__ = [
    "DATASETS", "KINDS", "check_attacks", "check_data_name", "check_method", "check_recipe_name", "check_reference",
    "check_words", "models", "optimizers", "recipes", "suites", "teachers", "values",
]  # fmt: skip

PACKAGE = Path(__file__).parents[1]
DATASETS = ("cifar10", "cifar100", "digits", "fashion_mnist", "svhn", "tiny_imagenet")
KINDS = ("file", "hf", "python", "robustbench", "timm", "zoo")  # of model references
TEACHER_FLAGS = ("--teacher", "--clean-teacher", "--clean_teacher")


def check_words(words: Sequence[str]) -> None:
    """Raise ValueError if an option of `train` or `preflight` has an unknown value, such as a misspelt method."""
    for method in values(words, "--method"):
        check_method(method)
    for student in values(words, "--student"):
        family = student.split("-")[0]
        if re.fullmatch(r"\w+", family) and family not in models():  # otherwise a path, python: or timm:
            raise unknown("model", family, models())
    for flag in TEACHER_FLAGS:
        for reference in values(words, flag):
            check_reference(reference)
    for data in values(words, "--data.name"):
        check_data_name(data)
    for name in values(words, "--optimizer"):
        if (known := optimizers()) and name not in known and name.lower() not in known:
            raise unknown("optimizer", name, known)
    for suite in values(words, "--suite"):
        if suite != "None":
            check_attacks(suite)


def check_recipe_name(reference: str) -> None:
    """Raise ValueError for an unknown recipe name."""
    if reference not in recipes():
        raise unknown("recipe", reference, recipes())


def check_method(method: str) -> None:
    """Raise ValueError if a part of a method such as `adaad+igdm` is unknown; `module:Class` is not checked."""
    for part in method.split("+"):
        if ":" not in part and part not in REGISTRY:
            raise unknown("method", part, REGISTRY)


def check_attacks(wanted: str) -> None:
    """Raise ValueError if one of the comma-separated names is neither a suite nor an attack."""
    for name in map(str.strip, wanted.split(",")):
        if name not in suites() and not name.startswith("python:") and not re.fullmatch(r"pgd-[1-9]\d{0,3}", name):
            raise unknown("suite or attack", name, suites() | {"pgd-N"})


def check_data_name(name: str) -> None:
    """Raise ValueError if `name`, a single word, is neither a dataset nor an existing file or folder."""
    if re.fullmatch(r"[\w-]+", name) and name not in DATASETS and not Path(name).exists():
        raise ValueError(f"{unknown('dataset', name, DATASETS)} There is no file or folder of that name either.")


def check_reference(reference: str) -> None:
    """Raise ValueError if a model reference has an unknown kind, or names an unknown RobustBench teacher."""
    location = reference.partition("?")[0]
    kind, colon, name = location.partition(":")
    if not colon or len(kind) == 1 or not kind.isidentifier():
        return
    if kind not in KINDS:
        raise unknown_kind(kind, location, KINDS)
    if kind == "robustbench":
        place, _, short = name.rpartition("/")
        dataset = (place or "cifar10/Linf").removesuffix("/Linf")
        if dataset in teachers() and short not in teachers()[dataset]:
            raise unknown(f"{dataset}/Linf teacher", short, teachers()[dataset])


@cache
def teachers() -> dict[str, frozenset[str]]:
    """Return the names of published teachers by dataset, those in `models.teachers.TEACHERS`."""
    tables: dict[str, str] = ast.literal_eval(_assigned("models/teachers.py", "TABLES"))
    return {data: frozenset(line.split()[0] for line in text.strip().splitlines()) for data, text in tables.items()}


@cache
def models() -> frozenset[str]:
    """Return the model families of the zoo, those of `models.names()`."""
    return _keys("models/zoo.py", "ZOO")


@cache
def optimizers() -> frozenset[str]:
    """Return advdistill's optimizers, `lamb` and the classes of torch.optim; empty if torch's source is not found."""
    torch = find_spec("torch")
    file = Path(*(torch and torch.submodule_search_locations) or ["."], "optim", "__init__.py")
    theirs = {
        alias.name
        for node in (_body(file) if file.is_file() else []) if isinstance(node, ast.ImportFrom)
        for alias in node.names if alias.name[0].isupper() and alias.name != "Optimizer"
    }  # fmt: skip
    return _keys("optimizers.py", "OPTIMIZERS") | {"lamb"} | theirs if theirs else frozenset()


@cache
def suites() -> frozenset[str]:
    """Return the names of suites and attacks, those in `attacks.suites`."""
    return _keys("attacks/suites.py", "SUITES") | _keys("attacks/suites.py", "ATTACKS")


@cache
def recipes() -> frozenset[str]:
    """Return the names of recipes, those of `recipes.names()`."""
    modules = _assigned("recipes/__init__.py", "MODULES")
    written = {
        f"{ast.literal_eval(dataset)}.{node.name}"
        for dataset, listed in zip(modules.keys, modules.values, strict=True) if dataset is not None
        for module in ast.walk(listed) if isinstance(module, ast.Name)
        for node in _body(f"recipes/{module.id}.py") if isinstance(node, ast.FunctionDef)
        if not node.name.startswith("_") and isinstance(node.returns, ast.Name) and node.returns.id == "Recipe"
    }  # fmt: skip
    return frozenset(written | {f"digits.{name}" for name, place in REGISTRY.items() if not _is_term(place)})


def _is_term(place: str) -> bool:
    """Return whether a class in methods/ is a term, not a method; a term alone has no recipe."""
    module, name = place.split(".")
    classes = (node for node in _body(f"methods/{module}.py") if isinstance(node, ast.ClassDef) and node.name == name)
    return any(isinstance(base, ast.Name) and base.id == "Term" for node in classes for base in node.bases)


def values(words: Sequence[str], flag: str) -> Iterator[str]:
    """Yield the value of each occurrence of a flag."""
    for word, following in pairwise([*words, ""]):
        if word == flag and following and not following.startswith("-"):
            yield following
        elif word.startswith(f"{flag}="):
            yield word.removeprefix(f"{flag}=")


def _keys(file: str, name: str) -> frozenset[str]:
    return frozenset(ast.literal_eval(key) for key in _assigned(file, name).keys if key is not None)


def _assigned(file: str, name: str) -> ast.Dict:
    """Return the dictionary that a file of the package assigns to a name."""
    for node in _body(file):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
                return node.value
    raise LookupError(f"{file} assigns no dictionary to {name}")


def _body(file: str | Path) -> list[ast.stmt]:
    return ast.parse((PACKAGE / file).read_text()).body
