"""Methods by name: `build("adaad+igdm")`, or `build("my_module:MyMethod")` for one of your own."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import reduce
from typing import Any

from .._internal.imports import absolute, import_object
from .._internal.messages import unknown
from .adaad import AdaAD
from .ard import ARD
from .base import Batch, Method, Sum, Term
from .cost import passes
from .dgad import DGAD
from .fair import ABSLD, FairARD, FairIAD, FairMTARD, FairRSLAD
from .iad import AKD2, IAD, IADII, AdaIAD
from .igdm import IGDM
from .mart import MART
from .mtard import BMTARD, CIARD, MTARD
from .peeraid import PeerAiD
from .pgd_at import PGDAT
from .rslad import RSLAD
from .saad import SAAD
from .standard import Standard
from .trades import TRADES

__all__ = ["Batch", "METHODS", "Method", "Sum", "Term", "build", "describe", "from_config", "to_config"]
__all__ += ["ABSLD", "AKD2", "ARD", "AdaAD", "AdaIAD", "BMTARD", "CIARD", "DGAD", "FairARD", "FairIAD", "FairMTARD"]
__all__ += ["FairRSLAD", "IAD", "IADII", "IGDM", "MART", "MTARD", "PGDAT", "PeerAiD", "RSLAD", "SAAD", "Standard"]
__all__ += ["TRADES"]

METHODS: dict[str, type[Term]] = {
    "standard": Standard,
    "pgd_at": PGDAT,
    "trades": TRADES,
    "mart": MART,
    "ard": ARD,
    "akd2": AKD2,
    "iad": IAD,
    "iad2": IADII,
    "rslad": RSLAD,
    "mtard": MTARD,
    "bmtard": BMTARD,
    "adaad": AdaAD,
    "adaiad": AdaIAD,
    "dgad": DGAD,
    "saad": SAAD,
    "fair_ard": FairARD,
    "fair_iad": FairIAD,
    "fair_rslad": FairRSLAD,
    "fair_mtard": FairMTARD,
    "absld": ABSLD,
    "ciard": CIARD,
    "peeraid": PeerAiD,
    "igdm": IGDM,
}

_OWN: dict[type[Term], str] = {}  # what users brought, and where from: a module's name alone does not find a file


def build(name: str) -> Method:
    """A method with its default coefficients, e.g. `rslad`, `adaad+igdm` or `my_module:MyMethod`.

    Raises:
        ValueError: an unknown name, or a term such as `igdm` alone.
    """
    return from_config({part: {} for part in name.split("+")})


def from_config(config: Mapping[str, Mapping[str, Any] | None]) -> Method:
    """The inverse of `to_config`: `{"adaad": {}, "igdm": {"weight": 5}}` is AdaAD() + IGDM(weight=5)."""
    parts = [_part(name, values or {}) for name, values in config.items()]
    first = parts[0]
    if not isinstance(first, Method):
        raise ValueError(f"{next(iter(config))!r} is a term; add it to a method, e.g. 'adaad+{next(iter(config))}'.")
    try:
        return reduce(lambda method, term: method + term, parts[1:], first)
    except TypeError as error:
        raise ValueError(str(error)) from None


def to_config(method: Term) -> dict[str, dict[str, Any]]:
    """A method as plain values: its parts by name, each with its coefficients."""
    if isinstance(method, Sum):
        return to_config(method.base) | to_config(method.term)
    return {name_of(type(method)): {f.name: getattr(method, f.name) for f in fields(method)}}


def name_of(kind: type[Term]) -> str:
    """The name that `build` understands."""
    known = {known: name for name, known in METHODS.items()} | _OWN
    return known.get(kind, f"{kind.__module__}:{kind.__qualname__}")


def describe() -> list[dict[str, str]]:
    """Of each: its name, what it is, its teachers, the forward passes of a step with 10 attack steps, its reference."""
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
    """Of a term: those it adds to AdaAD's, with which it shares x'."""
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
    return " ".join(reference.split()) if found else "-"


def _part(name: str, values: Mapping[str, Any]) -> Term:
    kind = METHODS.get(name) or (_own(name) if ":" in name else None)
    if kind is None:
        raise unknown("method", name, METHODS)
    names = {f.name for f in fields(kind)}
    for given in values:
        if given not in names:
            raise unknown(f"coefficient of {name}", given, names)
    return kind(**values)


def _own(reference: str) -> type[Term]:
    kind = import_object(reference)
    if not (isinstance(kind, type) and issubclass(kind, Term) and is_dataclass(kind)):
        raise ValueError(f"{reference!r} must be a dataclass derived from advdistill.Method or advdistill.Term.")
    _OWN[kind] = absolute(reference)
    return kind
