"""Convert dataclasses to plain values for YAML, and back: methods, threats and optimisers by name."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_origin, get_type_hints

import typeguard

from . import methods
from ._internal.messages import unknown
from .attacks import PGD, CustomAttack
from .methods import Method
from .optimizers import OPTIMIZERS, Optimizer, TorchOptimizer
from .threat import L2, Linf, Threat, show_pixels

__all__ = ["THREATS", "build", "to_config"]

THREATS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}


def to_config(value: Any) -> Any:
    """Convert dataclasses to plain values: methods and threats by name, lengths in pixels as n/255."""
    if isinstance(value, Method):
        return methods.to_config(value)
    if isinstance(value, Threat):
        return {value.name.lower(): show_pixels(value.eps)}
    if isinstance(value, PGD):
        return _fields(value) | {"step_size": show_pixels(value.step_size)}
    if isinstance(value, Optimizer):
        return _optimizer_config(value)
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {key: to_config(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: to_config(getattr(value, f.name)) for f in fields(value)}


def _optimizer_config(value: Optimizer) -> dict[str, Any]:
    """Return one flat dictionary: the class's name, then its options."""
    if isinstance(value, TorchOptimizer):
        own = _fields(value)
        return {"name": own.pop("name"), **own.pop("options"), **own}
    return {"name": type(value).__name__.lower(), **_fields(value)}


def _optimizer(config: Any, where: str) -> Optimizer:
    if not isinstance(config, dict):
        raise ValueError(f"{where} must hold fields such as 'name: adamw' and 'lr: 0.001', got {config!r}.")
    given = dict(config)
    name = str(given.pop("name", "sgd"))
    if kind := OPTIMIZERS.get(name.lower()):
        built: Optimizer = build(kind, given, where)
        return built
    known = {f.name: given.pop(f.name) for f in fields(TorchOptimizer) if f.name in given and f.name != "options"}
    options = {key: tuple(value) if isinstance(value, list) else _number(value) for key, value in given.items()}
    built = build(TorchOptimizer, known | {"name": name, "options": options}, where)
    return built


def build(kind: Any, config: Any, where: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(config, dict):
        raise ValueError(f"{where} must hold fields ({', '.join(hints)}), got {config!r}.")
    known = [f.name for f in fields(kind)]
    for name in config:
        if name not in known:
            raise unknown(f"field of {where}", str(name), known)
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in config.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Method:
        return _method(value, where)
    if hint is Threat:
        return _threat(value, where)
    if hint == PGD | CustomAttack:
        hint = CustomAttack if isinstance(value, dict) and "python" in value else PGD
    if hint == Optimizer:
        return _optimizer(value, where)
    if is_dataclass(hint):
        return build(hint, value, where)
    if get_origin(hint) is tuple and isinstance(value, list):
        value = tuple(value)
    if hint in (float, float | None) and isinstance(value, str):
        value = _number(value)  # YAML reads 5e-4 as text
    try:
        return typeguard.check_type(value, hint, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError as error:
        raise ValueError(f"{where} cannot be {value!r}: {error}.") from None


def _method(value: Any, where: str) -> Method:
    if isinstance(value, str):
        return methods.build(value)
    if not (isinstance(value, dict) and value and all(isinstance(part, dict | None) for part in value.values())):
        raise ValueError(f"{where} must be a name or names with coefficients, 'rslad: {{scale: 0.1}}', got {value!r}.")
    return methods.from_config(value)


def _threat(value: Any, where: str) -> Threat:
    if not (isinstance(value, dict) and len(value) == 1):
        raise ValueError(f"{where} must be one of 'linf: 8/255' or 'l2: 128/255', got {value!r}.")
    ((name, eps),) = value.items()
    if name not in THREATS:
        raise unknown("threat model", name, THREATS)
    return THREATS[name](eps)


def _number(text: Any) -> Any:
    try:
        return float(text) if isinstance(text, str) else text
    except ValueError:
        return text
