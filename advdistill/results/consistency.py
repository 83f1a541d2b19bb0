"""Checks that the files of a result agree with themselves and each other: an edit by hand easily changes one value."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from .._internal.pixels import pixels
from .._internal.reading import printable

if TYPE_CHECKING:
    from .result import Measurement

__all__ = ["above_clean", "check_derived", "check_eps", "same_fact", "same_weights"]

ROUNDED = 2e-6  # accuracies and intervals are written with six decimals; eps may differ as much from its text


def check_derived(measured: "Measurement", written: Mapping[str, Any]) -> None:
    """Compare the accuracy and interval in a file with those computed from its counts.

    Args:
        written: the measurement as in the file; if the accuracy or the interval is missing, it is not compared.

    Raises:
        ValueError: they differ.
    """
    counted = f"{measured.correct} of {measured.n} images right"
    for name, values in (("accuracy", [measured.accuracy]), ("interval", list(measured.interval))):
        if name not in written:
            continue
        found = written[name] if name == "interval" else [written[name]]
        numbers = isinstance(found, list) and all(isinstance(one, int | float) for one in found)
        if not (numbers and len(found) == len(values) and all(map(_near, found, values))):
            expected = [round(value, 6) for value in values]
            shown = expected if name == "interval" else expected[0]
            raise ValueError(
                f"{printable(measured.attack)}: its {name} is {printable(written[name])}, and {counted} give {shown}"
            )


def check_eps(threat: str, eps: float) -> None:
    """Compare the eps of a result with the eps in the text of its threat model.

    Raises:
        ValueError: they differ, or the text has no eps.
    """
    try:
        stated = pixels(threat.partition(" ")[2], limit=inf)
    except ValueError:
        raise ValueError(f"its threat model must be such as 'Linf 8/255', got {printable(threat)!r}") from None
    if not _near(stated, eps):
        raise ValueError(f"its threat model is {printable(threat)}, and its eps {printable(eps)}")


def above_clean(measurements: Iterable["Measurement"]) -> list[str]:
    """Return the attacks under which more images are right than clean, which is impossible: x is itself an x'."""
    found = {m.attack: m for m in measurements}
    clean = found.get("clean")
    return [m.attack for m in found.values() if clean and m.n == clean.n and m.correct > clean.correct]


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= ROUNDED  # false for NaN


def same_weights(one: str | None, other: str | None) -> bool:
    """Return whether two digests name the same model; those of earlier versions leave out its normalisation."""
    (first, _, how), (second, _, other_how) = str(one).partition("+"), str(other).partition("+")
    return first == second and (not how or not other_how or how == other_how)


def same_fact(name: str, one: object, other: object) -> bool:
    """Return whether a fact is the same in two files: `weights` and `surrogate` as digests, others as text."""
    one, other = str(one), str(other)
    return same_weights(one, other) if name in ("weights", "surrogate") else one == other
