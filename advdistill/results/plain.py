"""Dataclasses built from the plain values of a JSON file."""

from dataclasses import MISSING, fields
from typing import Any, TypedDict, get_type_hints

from typeguard import CollectionCheckStrategy, check_type

__all__ = ["build"]


def build(kind: type, values: Any) -> Any:
    """Build a dataclass from plain values and check their types; unknown fields are ignored.

    Raises:
        TypeCheckError: a field is missing or has another type.
    """
    hints = get_type_hints(kind)
    known = {name: value for name, value in check_type(values, dict).items() if name in hints}
    absent = {f.name for f in fields(kind) if f.default is not MISSING} - known.keys()  # in files of earlier versions
    # mypy expects the fields of a TypedDict as literals
    wanted = TypedDict(kind.__name__, {n: h for n, h in hints.items() if n not in absent})  # type: ignore[misc]
    return kind(**check_type(known, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS))
