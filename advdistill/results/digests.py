"""Comparison of digests and of other facts in the files of a result."""

__all__ = ["same_fact", "same_weights"]


def same_weights(one: str | None, other: str | None) -> bool:
    """Return whether two digests name the same model; those of earlier versions leave out its normalisation."""
    (first, _, how), (second, _, other_how) = str(one).partition("+"), str(other).partition("+")
    return first == second and (not how or not other_how or how == other_how)


def same_fact(name: str, one: object, other: object) -> bool:
    """Return whether a fact is the same in two files: `weights` and `surrogate` as digests, others as text."""
    one, other = str(one), str(other)
    return same_weights(one, other) if name in ("weights", "surrogate") else one == other
