"""Find a network's own tensors in a checkpoint: below usual keys, behind wrappers' prefixes, next to other values."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .._internal.reading import printable

__all__ = ["NoNetwork", "check_types", "strip", "unwrap"]

STATE_DICT_KEYS = ("state_dict", "net", "model", "model_state_dict")  # preferred to other keys, such as `ema` and `swa`
MAX_DEPTH = 10  # nested wrappers or dictionaries
MOST_CHANNELS = 1000
WRAPPER_NAMES = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # around submodules, too
COUNTERS = {"n_averaged", "total_ops", "total_params"}  # counters of AveragedModel and thop, not weights
NORMALISERS = (("mean", "std"), ("mu", "sigma"), ("mean", "sigma"), ("_mean", "_std"))
FLOATS = {torch.float32, torch.float64, torch.float16, torch.bfloat16}
SCALES = ("scale", "scales", "_scale", "zero_point", "zero_points", "qzeros", "absmax", "SCB", "_packed_params")


class NoNetwork(ValueError):
    """A checkpoint from which no network can be read. The message lacks its subject; callers put the path first."""


def unwrap(loaded: object) -> dict[str, Tensor]:
    """Return a network's tensors, found under `state_dict`, `net`, `model` or `model_state_dict`.

    Without these keys, the checkpoint itself or its only dictionary of tensors is the network.
    Raises NoNetwork if the checkpoint holds no network, or several.
    """
    if isinstance(loaded, list | tuple):
        networks = [part for part in loaded if _tensors(part)]
        loaded = networks[0] if len(networks) == 1 else loaded
    if not isinstance(loaded, Mapping):
        raise NoNetwork(f"holds a {type(loaded).__name__}, not a state dict")
    found: Mapping[Any, Any] = loaded
    for _ in range(MAX_DEPTH):  # a dictionary may contain itself
        nested = next((found[nest] for nest in STATE_DICT_KEYS if isinstance(found.get(nest), Mapping)), None)
        if nested is None:
            nested = _only_network(found)
        if nested is None:
            break
        found = nested
    tensors = _tensors(found)
    if not tensors:
        keys = [key for key in found if isinstance(key, str | int)]
        raise NoNetwork(f"holds no weights, only {printable(', '.join(map(str, keys))) or 'an empty dictionary'}")
    return tensors


def _tensors(part: object) -> dict[str, Tensor]:
    items = part.items() if isinstance(part, Mapping) else ()
    named = ((key.decode(errors="replace") if isinstance(key, bytes) else key, value) for key, value in items)
    return {key: value for key, value in named if isinstance(key, str) and isinstance(value, Tensor)}


def _only_network(found: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """Return the only dictionary of tensors, or of such dictionaries, in `found`; `None` if `found` has weights."""
    if any(tensor.ndim and tensor.is_floating_point() for tensor in _tensors(found).values()):
        return None
    parts = {key: part for key, part in found.items() if isinstance(part, Mapping) and "param_groups" not in part}
    networks = {key: part for key, part in parts.items() if _tensors(part)} or {
        key: part for key, part in parts.items() if any(_tensors(inner) for inner in part.values())
    }
    if len(networks) > 1:
        raise NoNetwork(f"holds several networks ({_listed(networks)}) and does not say which one to load")
    return next(iter(networks.values()), None)


def _listed(names: Collection[Any]) -> str:
    return printable(", ".join(str(name) for name in names if isinstance(name, str | int)), 80)


def strip(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, tuple[float, ...]]]:
    """Remove the traces of wrappers: DDP, torch.compile, weight averages, a normalisation module, an outer module.

    Returns the network's own tensors, and the `mean` and `std` of the normalisation module, empty if there is none.
    """
    weights: dict[str, Tensor] = {}
    for key, value in tensors.items():
        words = key.split(".")
        if words[-1] not in COUNTERS:
            weights[".".join(word for word in words[:-1] if word not in WRAPPER_NAMES) + f".{words[-1]}"] = value
    weights = {key.removeprefix("."): value for key, value in weights.items()}
    statistics: dict[str, tuple[float, ...]] = {}
    for mean, std in _normalisers(weights):
        statistics = {"mean": _channel_values(weights.pop(mean)), "std": _channel_values(weights.pop(std))}
    for _ in range(MAX_DEPTH):
        outer = _outer(weights)
        if outer is None:
            break
        weights = {key.removeprefix(outer): value for key, value in weights.items() if key.startswith(outer)}
    return weights, statistics


def _normalisers(weights: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    ends = {mean: [std for other, std in NORMALISERS if other == mean] for mean, _ in NORMALISERS}
    found = []
    for key in weights:
        before, dot, last = key.rpartition(".")
        found += [(key, f"{before}{dot}{std}") for std in ends.get(last, ()) if f"{before}{dot}{std}" in weights]
    return found[:1]


def _outer(weights: Mapping[str, Tensor]) -> str | None:
    """Return the prefix below which the whole network lies, such as `model.`, if there is one.

    Raises NoNetwork if several networks lie next to each other.
    """
    groups: dict[str, list[Tensor]] = {}
    for key, tensor in weights.items():
        first, dot, _ = key.partition(".")
        groups.setdefault(first + dot, []).append(tensor)
    if len(groups) == 1:
        return next((name for name in groups if name.endswith(".")), None)
    dims = {name: {tensor.ndim for tensor in group} for name, group in groups.items()}
    networks = [name for name, found in dims.items() if {2, 4} <= found]  # convolutions and a head
    rest = any(max(found) > 1 for name, found in dims.items() if name not in networks)
    if rest or not networks:
        return None
    if len(networks) > 1:
        names = _listed([name.rstrip(".") for name in networks])
        raise NoNetwork(f"holds several networks ({names}) and does not say which one to load")
    return networks[0]


def _channel_values(tensor: Tensor) -> tuple[float, ...]:
    if tensor.numel() > MOST_CHANNELS:
        raise NoNetwork(f"holds a mean or std of {tensor.numel():,} values")
    return tuple(tensor.flatten().tolist())


def check_types(weights: Mapping[str, Tensor], name: str, integers: Collection[str] = ()) -> None:
    """Raise ValueError unless all but counters and `integers` are floats of 16 bits or more, and all floats finite."""
    for key, tensor in weights.items():
        if tensor.dtype in FLOATS and not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are NaN or infinite, in {printable(key, 60)}: the training that "
                             "wrote it diverged; give a checkpoint of an earlier epoch.")  # fmt: skip
        if tensor.dtype in FLOATS or key in integers or (tensor.ndim == 0 and tensor.dtype is torch.int64):
            continue
        kind, where = str(tensor.dtype).removeprefix("torch."), printable(key, 60)
        scale = next(_scales(weights), None)
        if scale:
            raise ValueError(f"{name} is quantised: {where} is {kind}, with {printable(scale, 60)} beside it; give the "
                             "float weights of which it was made.")  # fmt: skip
        if kind.startswith("float"):
            raise ValueError(f"{name} has {where} in {kind}, of 8 bits or less and without a scale; give the weights "
                             "in float32, float16 or bfloat16.")  # fmt: skip
        raise ValueError(f"{name} has {where} in {kind}; weights are float32, float16 or bfloat16: save the network's "
                         "own model.state_dict(), not cast.")  # fmt: skip


def _scales(weights: Mapping[str, Tensor]) -> Iterator[str]:
    return (key for key in weights if key.endswith(SCALES))
