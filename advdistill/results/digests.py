"""Digests that name a model in the files of a result, and whether two of them name the same one."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["digest_of", "same_fact", "same_weights"]


def digest_of(tensors: Iterable[tuple[str, np.ndarray]], normalisation: tuple[Any, Any] | None = None) -> str:
    """Twelve hex digits that name weights, `+`, and eight that name the normalisation that is outside them.

    Args:
        tensors: names and values; the digest depends on their order.
        normalisation: mean and std `[C]` of a model that has its own; `None` where they are not known.
    """
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:12] + ("" if normalisation is None else f"+{_digest_of_normalisation(*normalisation)}")


def same_weights(one: str | None, other: str | None) -> bool:
    """Whether two digests name the same model; those of earlier versions do not say how it normalises."""
    (first, _, how), (second, _, other_how) = str(one).partition("+"), str(other).partition("+")
    return first == second and (not how or not other_how or how == other_how)


def same_fact(name: str, one: object, other: object) -> bool:
    """Whether two files state the same of what they are of: `weights`, `surrogate`, or anything else as text."""
    one, other = str(one), str(other)
    return same_weights(one, other) if name in ("weights", "surrogate") else one == other


def _digest_of_normalisation(mean: Any, std: Any) -> str:
    """`None` is the identity of either, and equals zeros or ones."""
    means, stds = np.broadcast_arrays(np.float32(0 if mean is None else mean), np.float32(1 if std is None else std))
    identity = not means.any() and bool((stds == 1).all())
    return hashlib.sha256(b"" if identity else means.tobytes() + stds.tobytes()).hexdigest()[:8]
