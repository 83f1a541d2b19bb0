"""Whether two digests, or other facts in the files of a result, name the same."""

__all__ = ["same_fact", "same_weights"]


def same_weights(one: str | None, other: str | None) -> bool:
    """Whether two digests name the same model; those of earlier versions do not say how it normalises."""
    (first, _, how), (second, _, other_how) = str(one).partition("+"), str(other).partition("+")
    return first == second and (not how or not other_how or how == other_how)


def same_fact(name: str, one: object, other: object) -> bool:
    """Whether two files state the same of what they are of: `weights`, `surrogate`, or anything else as text."""
    one, other = str(one), str(other)
    return same_weights(one, other) if name in ("weights", "surrogate") else one == other
