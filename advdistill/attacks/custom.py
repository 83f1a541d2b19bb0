"""Users' own attacks: subclasses of `Attack`, and named objects or functions of that protocol, also by reference."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from .._internal.imports import import_object
from .._internal.rng import Rng
from ..threat import Threat
from .base import Attack
from .settings import plain

__all__ = ["PREFIX", "CallableAttack", "as_attack", "from_python"]

PREFIX = "python:"
FORM = "attack(model, x, y, rng=...)"


@dataclass(frozen=True)
class CallableAttack(Attack):
    """An attack from a function, or from an object that is not derived from `Attack`.

    Args:
        function: `function(model, x, y, rng=rng)` returns x'; see `Attack.__call__`.
        options: further keyword arguments of the function.

    Example:
        >>> def noise(model, x, y, *, rng, size=0.1):
        ...     return (x + size * (2 * rng.uniform(x) - 1)).clamp(0, 1)
        >>> attack = CallableAttack("noise", noise, {"size": 0.2})
        >>> attack.describe(10)
        'size 0.2'
    """

    name: str
    function: Callable[..., Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        return {name: plain(value) for name, value in {**_known(self.function), **self.options}.items()}

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        return self.function(model, x, y, rng=rng, **self.options)


def as_attack(given: Any, options: Mapping[str, Any] | None = None) -> Attack:
    """Return an `Attack` unchanged, or convert a named object or function of the protocol to one.

    Args:
        options: keyword arguments of a function.

    Raises:
        TypeError: `given` is anything else, or cannot be called as `attack(model, x, y, rng=...)`.
    """
    if isinstance(given, type):
        raise TypeError(f"{given.__name__} is a class; give an attack made from it, {given.__name__}(...).")
    name = getattr(given, "name", None) or getattr(given, "__name__", None)
    if not callable(given) or not isinstance(name, str) or name == "<lambda>":
        missing = f"; {type(given).__name__} has no name" if isinstance(given, Attack) else ""
        raise TypeError(f"An attack is a name or an advdistill.attacks.base.Attack; got {given!r}{missing}.")
    if not _takes(given, None, None, None, rng=None, **(options or {})):
        raise TypeError(f"{name} is called as {FORM}, which it does not take: its arguments are {_signature(given)}.")
    return given if isinstance(given, Attack) else CallableAttack(name, given, options or {})


def from_python(reference: str, threat: Threat, options: Mapping[str, Any] | None = None) -> Attack:
    """Import the attack that `my_module:my_attack` or `path/to/file.py:MyAttack` names.

    Args:
        reference: names a function of the protocol, an attack, or a class or function that creates an attack.
        threat: passed as `threat` to the class or function that creates the attack, if it has such an argument.
        options: further keyword arguments of that class or function, or of a function of the protocol.

    Raises:
        ValueError: the import fails or is forbidden, or what is imported neither is nor creates an attack.
    """
    found, options = import_object(reference), options or {}
    try:
        if isinstance(found, type) or (inspect.isroutine(found) and not _takes(found, None, None, None, rng=None)):
            make: Callable[..., Any] = partial(found, **options)
            return as_attack(make(threat=threat) if _has(found, "threat") and "threat" not in options else make())
        if options and not inspect.isroutine(found):
            raise TypeError(f"it is made already, and takes no settings ({', '.join(options)})")
        return as_attack(found, options)
    except TypeError as error:
        raise ValueError(
            f"{reference} must be an attack, a function called as {FORM}, or what makes one: {error}"
        ) from error


def _known(function: Callable[..., object]) -> dict[str, object]:
    """Return the defaults of a function's arguments, or the attributes of an object."""
    if inspect.isroutine(function):
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "rng"}
    values: dict[str, object] = getattr(function, "__dict__", {})
    return {name: value for name, value in values.items() if name != "name" and not name.startswith("_")}


def _takes(function: Callable[..., object], *arguments: object, **named: object) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:  # builtins have no signature
        return True
    return True


def _has(function: Callable[..., object], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _signature(function: Callable[..., object]) -> str:
    return str(inspect.signature(function))
