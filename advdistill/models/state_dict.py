"""From whatever a checkpoint holds to a plain state dict: the shapes that published files come in."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .._internal.reading import printable

NESTS = ("state_dict", "net", "model", "model_state_dict")
DEEPEST = 10  # wrappers around wrappers
MOST = 1000  # channels
PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "1.")  # the last: nn.Sequential(normaliser, network)
NORMALISERS = (("mean", "std"), ("mu", "sigma"), ("normalize.mean", "normalize.std"), ("0.mean", "0.std"))


def unwrap(loaded: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint, also from below `state_dict`, `net`, `model` or `model_state_dict`.

    Raises ValueError if there are none.
    """
    if not isinstance(loaded, Mapping):
        raise ValueError(f"holds a {type(loaded).__name__}, not a state dict")
    found: Mapping[Any, Any] = loaded
    for _ in range(DEEPEST):  # a dictionary may lie in itself
        nested = next((found[nest] for nest in NESTS if isinstance(found.get(nest), Mapping)), None)
        if nested is None:
            break
        found = nested
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"holds no weights, only {printable(', '.join(map(str, found))) or 'an empty dictionary'}")
    return tensors


def strip(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, tuple[float, ...]]]:
    """Take off wrappers (DDP, compile, a normalising module).

    Returns the network's own tensors, and the wrapper's `mean` and `std`, empty if there is none.
    """
    weights, statistics = dict(tensors), {}
    for _ in range(DEEPEST):
        for mean, std in NORMALISERS:
            if mean in weights and std in weights:
                statistics = {"mean": _values(weights.pop(mean)), "std": _values(weights.pop(std))}
        prefix = next((p for p in PREFIXES if weights and all(key.startswith(p) for key in weights)), None)
        if prefix is None:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights, statistics


def _values(tensor: Tensor) -> tuple[float, ...]:
    if tensor.numel() > MOST:
        raise ValueError(f"holds a mean or std of {tensor.numel():,} values")
    return tuple(tensor.flatten().tolist())
