"""Methods by name: build them, convert them to and from plain values, list them."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import reduce
from importlib import import_module
from typing import Any

from .._internal.imports import absolute, import_object
from .._internal.messages import unknown
from . import REGISTRY
from .adaad import AdaAD
from .cost import passes
from .method import Method, Sum, Term

__all__ = ["METHODS", "as_method", "build", "describe", "from_config", "name_of", "to_config"]


def _imported(place: str) -> type[Term]:
    module, name = place.split(".")
    kind: type[Term] = getattr(import_module(f".{module}", __package__), name)
    return kind


METHODS: dict[str, type[Term]] = {name: _imported(place) for name, place in REGISTRY.items()}

_CUSTOM: dict[type[Term], str] = {}  # user classes and the references they were imported from, which may name files


def build(name: str) -> Method:
    """Build a method with its default coefficients.

    Args:
        name: e.g. `rslad`, `adaad+igdm` or `my_module:MyMethod`.

    Returns:
        The method, or the sum of a method and its terms.

    Raises:
        ValueError: an unknown name, or a term such as `igdm` alone.

    >>> from advdistill.methods import build
    >>> build("adaad+igdm").base
    AdaAD(adv_weight=1.0, scale=1.0)
    """
    return from_config({part: {} for part in name.split("+")})


def as_method(method: object) -> Method:
    """Return a method given as an instance or by name, as in `build`; raise ValueError for anything else."""
    if isinstance(method, str):
        return build(method)
    if isinstance(method, Term) and not isinstance(method, Method):
        raise ValueError(f"{method} is a term; add it to a method, as in RSLAD() + {method}.")
    if not isinstance(method, Method):
        kind = method.__name__ if isinstance(method, type) else type(method).__name__
        hint = f"give {kind}()" if isinstance(method, type) else "give a method such as RSLAD() or its name, 'rslad'"
        raise ValueError(f"{kind} is no method; {hint}.")
    return method


def from_config(config: Mapping[str, Mapping[str, Any] | None]) -> Method:
    """Build a method from plain values; the inverse of `to_config`.

    Args:
        config: the method and then its terms by name, each with its coefficients; `None` for the defaults.

    Returns:
        The method, or the sum of a method and its terms.

    Raises:
        ValueError: an unknown name or coefficient, a coefficient out of its range, or a term without a method.

    >>> from advdistill.methods import from_config
    >>> from_config({"rslad": {"scale": 0.1}, "igdm": {"weight": 5}}).term
    IGDM(weight=5, plus=1.0, minus=1.0)
    """
    parts = [_part(name, values or {}) for name, values in config.items()]
    first = parts[0]
    if not isinstance(first, Method):
        raise ValueError(f"{next(iter(config))!r} is a term; add it to a method, e.g. 'adaad+{next(iter(config))}'.")
    try:
        return reduce(lambda method, term: method + term, parts[1:], first)
    except TypeError as error:
        raise ValueError(str(error)) from None


def to_config(method: Term) -> dict[str, dict[str, Any]]:
    """Convert a method to plain values.

    Args:
        method: a method, or the sum of a method and its terms.

    Returns:
        The method and its terms by name, each with its coefficients.

    >>> from advdistill import IGDM, TRADES
    >>> from advdistill.methods import to_config
    >>> to_config(TRADES() + IGDM(weight=20))
    {'trades': {'robust_weight': 6.0}, 'igdm': {'weight': 20, 'plus': 1.0, 'minus': 1.0}}
    """
    if isinstance(method, Sum):
        return to_config(method.base) | to_config(method.term)
    return {name_of(type(method)): {f.name: getattr(method, f.name) for f in fields(method)}}


def name_of(kind: type[Term]) -> str:
    """Return the name by which `build` finds a class."""
    known = {known: name for name, known in METHODS.items()} | _CUSTOM
    return known.get(kind, f"{kind.__module__}:{kind.__qualname__}")


def describe() -> list[dict[str, str]]:
    """Describe the methods and terms of the registry.

    Returns:
        For each of them, `name` (with a leading plus for a term), `summary`, `teachers`, `passes` (the forward passes
        of a training step with 10 attack steps, by network) and `reference`.

    >>> from advdistill.methods import describe
    >>> {row["name"]: row["passes"] for row in describe()}["rslad"]
    'robust 1, student 12'
    """
    return [
        {
            "name": name if issubclass(kind, Method) else f"+{name}",
            "summary": _sentence(kind),
            "teachers": ", ".join(kind.teachers) or "none",
            "passes": _passes(kind),
            "reference": _reference(kind),
        }
        for name, kind in METHODS.items()
    ]


def _passes(kind: type[Term]) -> str:
    """Return the forward passes by network; for a term, the passes that it adds to AdaAD."""
    if issubclass(kind, Method):
        counts = passes(kind())
    else:
        alone, together = passes(AdaAD()), passes(AdaAD() + kind())
        counts = {role: together[role] - alone.get(role, 0) for role in together}
    return ", ".join(f"{role} {count}" for role, count in counts.items())


def _sentence(kind: type[Term]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _reference(kind: type[Term]) -> str:
    _, found, reference = (inspect.getdoc(kind) or "").partition("Reference: ")
    return " ".join(reference.split("\n\n")[0].split()) if found else "-"


def _part(name: str, values: Mapping[str, Any]) -> Term:
    kind = METHODS.get(name) or (_custom(name) if ":" in name else None)
    if kind is None:
        raise unknown("method", name, METHODS)
    names = {f.name for f in fields(kind)}
    for given in values:
        if given not in names:
            raise unknown(f"coefficient of {name}", given, names)
    return kind(**values)


def _custom(reference: str) -> type[Term]:
    kind = import_object(reference)
    if not (isinstance(kind, type) and issubclass(kind, Term) and is_dataclass(kind)):
        raise ValueError(f"{reference!r} must be a dataclass derived from advdistill.Method or advdistill.Term.")
    _CUSTOM[kind] = absolute(reference)
    return kind
