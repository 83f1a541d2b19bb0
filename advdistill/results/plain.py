"""Dataclasses from the plain values of a JSON file."""

from dataclasses import MISSING, fields
from typing import Any, TypedDict, get_type_hints

from typeguard import CollectionCheckStrategy, check_type

__all__ = ["build"]


def build(kind: type, values: Any) -> Any:
    """Make a dataclass from plain values and check their types; unknown fields are ignored.

    Raises:
        TypeCheckError: a field is missing or of another type.
    """
    hints = get_type_hints(kind)
    known = {name: value for name, value in check_type(values, dict).items() if name in hints}
    absent = {f.name for f in fields(kind) if f.default is not MISSING} - known.keys()  # in files of earlier versions
    wanted = TypedDict(kind.__name__, {n: h for n, h in hints.items() if n not in absent})  # type: ignore[misc]  # dynamic
    return kind(**check_type(known, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS))
