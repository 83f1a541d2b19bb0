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
    present = {name: hint for name, hint in hints.items() if name not in absent}
    wanted = TypedDict(kind.__name__, present)  # type: ignore[misc]  # mypy expects the fields as literals
    return kind(**check_type(known, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS))
