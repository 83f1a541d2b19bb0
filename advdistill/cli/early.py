"""Checks of command-line arguments before torch is imported or any compute is spent."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._internal.pixels import pixels
from .._internal.reading import home, parse_yaml, read_text
from .names import check_data_name, check_recipe_name, check_reference, check_words, recipes, values

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = [
    "YAML", "check_data", "check_earlier", "check_eps", "check_model", "check_options", "check_recipe", "check_run",
    "check_teachers", "seconds",
]  # fmt: skip

YAML = (".yaml", ".yml")
MAX_EPS = {"linf": 1.0, "l2": 5.0}  # the largest eps, equal to `limit` of the threat models
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT = r"s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?"


def seconds(text: str) -> float:
    """Convert a budget such as `90m`, `5min`, `4 hours`, `1h30m` or `2d` to seconds.

    Raises:
        ValueError: the text is malformed, or the time is zero.

    >>> seconds("5min"), seconds("1h30m")
    (300.0, 5400.0)
    """
    spaced = re.sub(r"([a-z])(?=\d)", r"\1 ", text.strip().lower())
    parts = re.findall(rf"(\d+(?:\.\d+)?)\s*({_UNIT})\b\s*|(\S)", spaced)
    total = sum(float(number) * UNITS[unit[0]] for number, unit, other in parts if not other)
    if not total or any(other for *_, other in parts):
        raise ValueError(f"--budget must be a number and a unit, e.g. 90m, 4h or 2d; got {text!r}.")
    return total


def check_model(reference: str) -> None:
    """Raise FileNotFoundError if a model's path does not exist, ValueError if its kind or name is unknown."""
    check_reference(reference)
    path = _path(reference)
    if path and not home(path).exists():
        raise FileNotFoundError(f"No checkpoint at {path}; give a file (.safetensors, .pt, .pth, .ckpt) or a run "
                                f"directory.{_first_make(path)}")  # fmt: skip


def check_run(folder: Path | str) -> None:
    """Raise FileNotFoundError if a folder does not exist or is not a run."""
    if not Path(folder, "recipe.yaml").exists():
        raise FileNotFoundError(f"{folder} is not a run: it has no recipe.yaml.")


def check_earlier(result: Path) -> None:
    """Raise ValueError if an earlier result, to be merged with a new one, is damaged, contradictory or a folder."""
    from ..results.result import Result

    if result.is_dir():
        raise ValueError(f"{result} is a folder; give a result's file, such as --out {result / 'result.json'}.")
    if result.is_file():
        Result.load(result)


def check_data(reference: str) -> None:
    """Raise FileNotFoundError if a path to the user's own data does not exist, ValueError for an unknown dataset."""
    check_data_name(reference)
    path = Path(reference).expanduser()
    written = ":" not in reference and (re.search(r"[/\\]|^[~.]", reference) or path.suffix)
    if written and not path.exists():
        raise FileNotFoundError(f"There is no file or folder {reference.rstrip('/') or reference}.")


def check_eps(eps: str | None, norm: str | None = None) -> None:
    """Raise ValueError if eps is malformed or exceeds its norm's limit; without a norm, every norm's limit."""
    if eps is not None:
        beyond = norm == "l2" or (norm is None and _is_eps(eps, MAX_EPS["l2"]))
        pixels(eps, limit=MAX_EPS["l2" if beyond else "linf"])


def _is_eps(text: str, limit: float) -> bool:
    try:
        return pixels(text, limit=limit) >= 0
    except ValueError:
        return False


def check_options(words: Sequence[str]) -> None:
    """Raise ValueError if an option of `train` or `preflight` has an unknown name or an invalid eps as its value."""
    check_words(words)
    for eps in values(words, "--attack.threat.eps"):
        check_eps(eps, next(values(words, "--threat"), None))


def check_recipe(reference: str) -> None:
    """Raise FileNotFoundError if a recipe file does not exist, ValueError for an unknown recipe name."""
    if Path(reference).is_dir() and reference not in recipes():
        reference = str(Path(reference, "recipe.yaml"))
    if not reference.endswith(YAML):
        check_recipe_name(reference)
    if reference.endswith(YAML) and not Path(reference).exists():
        name = Path(reference).name.removesuffix(".yaml").removesuffix(".teacher")
        hint = "" if name == "recipe" else f" Write one first: advdistill init {name}, for your own images in {name}."
        raise FileNotFoundError(f"There is no recipe file {reference}.{hint}")
    if reference.endswith(YAML):
        _check_yaml(reference)


def _check_yaml(file: str) -> None:
    """Raise ValueError if a recipe file is not YAML, or its method, student, teachers or data are unknown."""
    try:
        text = read_text(file)
    except ValueError:  # reported when the recipe is loaded
        return
    known = parse_yaml(text, file)
    fields = known if isinstance(known, dict) else {}
    data = fields["data"] if isinstance(fields.get("data"), dict) else {}
    named = {"--method": fields.get("method"), "--student": fields.get("student"), "--teacher": fields.get("teacher"),
             "--clean-teacher": fields.get("clean_teacher"), "--data.name": data.get("name")}  # fmt: skip
    check_words([word for flag, name in named.items() if isinstance(name, str) for word in (flag, name)])


def check_teachers(recipe: "Recipe") -> None:
    """Raise FileNotFoundError if `student_init`, or a teacher that the method uses, is a path that does not exist."""
    from ..methods.roles import flag

    if recipe.student_init and (path := _path(recipe.student_init)) and not home(path).exists():
        make = _first_make(path) or " Train it first, or give --student-init another run or checkpoint."
        raise FileNotFoundError(f"The student_init {path} does not exist yet.{make}")
    for role, reference in recipe.references.items():
        path = _path(reference) if role in recipe.method.teachers else None
        if path and not home(path).exists():
            make = _first_make(path) or f" Train it first, or give {flag(role)} another run or checkpoint."
            raise FileNotFoundError(f"The {role} teacher {path} does not exist yet.{make}")


def _path(reference: str) -> str | None:
    """Return the path in a plain or `file:` reference; `None` for references of other kinds."""
    location = reference.partition("?")[0]
    kind, colon, name = location.partition(":")
    if not colon or len(kind) == 1 or not kind.isidentifier():
        return location
    return name if kind == "file" else None


def _first_make(path: str) -> str:
    """Return a hint with the command that trains the run at a path, if a recipe for it is found."""
    name = Path(path).name
    for suffix in YAML:
        if Path(f"{name}{suffix}").exists():
            return f" Make it first: advdistill train {name}{suffix} --out {path}"
    if Path(path).parent == Path("runs") and name in recipes():
        return f" Make it first: advdistill train {name}"
    return ""
