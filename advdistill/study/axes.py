"""The axes of a study: named levels, and the recipe fields that each level sets."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._internal.messages import unknown

__all__ = ["Levels", "read_levels", "set_field", "slug"]

Levels = Mapping[str, Mapping[str, Any]]  # by a level's name, the recipe fields that it sets
OPEN = ("method", "optimizer", "teachers")  # recipe fields whose own fields may have any name


def read_levels(axis: str, given: Any, where: str) -> dict[str, dict[str, Any]]:
    """Return the levels of an axis by name, each with the recipe fields that it sets."""
    if isinstance(given, list) and given:
        return _unique(((_shown(value), {axis: value}) for value in given), where)
    if isinstance(given, dict) and given and all(isinstance(one, dict | None) for one in given.values()):
        return _unique(((str(name), dict(one or {})) for name, one in given.items()), where)
    raise ValueError(
        f"{where} must be a list of values, or names of levels with their fields, 'none: {{}}', 'ema: {{ema: 0.99}}'; "
        f"got {given!r}."
    )


def _unique(levels: Iterator[tuple[str, dict[str, Any]]], where: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, changes in levels:
        if name in found:
            raise ValueError(f"{where} has {name} twice.")
        found[name] = changes
    return found


def _shown(value: Any) -> str:
    """Return a level's name: its value as text; for a method with coefficients such as `adaad+igdm(weight=1)`."""
    if not isinstance(value, dict):
        return str(value)
    return "+".join(_part(str(name), inside) for name, inside in value.items())


def _part(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name}({','.join(f'{key}={one}' for key, one in value.items())})" if value else name
    return name if value is None else f"{name}={value}"


def slug(axis: str, level: str) -> str:
    """Return a level as part of a folder's name, with the axis as prefix for numbers, None, True and False."""
    plain = re.sub(r"[^\w.+=,]+", "_", level).strip("_")
    return plain if re.match(r"[A-Za-z]", plain) and level not in ("None", "True", "False") else f"{axis}{plain}"


def set_field(config: dict[str, Any], path: Sequence[str], value: Any, where: str) -> None:
    """Set a recipe's field, such as `["attack", "steps"]`; `["attack", "threat", "eps"]` leaves the norm unchanged."""
    *parents, last = path
    for parent in parents:
        if not isinstance(config.get(parent), dict):
            raise unknown(f"field of {where}", ".".join(path), [*config])
        config = config[parent]
    if parents[-1:] == ["threat"] and last == "eps":
        (last,) = config  # a threat model is written as {linf: eps}
    if last not in config and not (parents and parents[0] in OPEN):
        raise unknown(f"field of {where}", ".".join(path), [*config])
    config[last] = value
