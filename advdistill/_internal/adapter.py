"""Support for users' networks: find the logits in an output, remove wrappers, make copies."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .messages import first_line

__all__ = ["Logits", "check_module", "copied", "copying", "logits_of", "require_gradients_", "state_of", "unwrapped"]


def logits_of(output: object, what: str = "model", x: Tensor | None = None) -> Tensor:
    """Return the logits `[B, K]` in the output of a network, by the same rule in the whole package.

    A tensor is the logits. In any other output, the logits are the attribute or key `logits`; without that name, the
    only tensor `[B, K]` of a tuple, list or dictionary.

    Args:
        what: the network's name in messages.
        x: the images `[B, C, H, W]`, if known: the logits must have a row for each of them.

    Raises:
        ValueError: there are no logits, several tensors could be the logits, or there is not one row per image.
    """
    found = _candidates(output)
    if len(found) == 1 and found[0].ndim == 2 and found[0].is_floating_point():
        if x is None or found[0].shape[0] == x.shape[0]:  # len() would be a constant in an exported program
            return found[0]
        raise ValueError(
            f"The {what} must return logits [B, K], a row for each image; for {len(x)} images it returns shape "
            f"{list(found[0].shape)}. Leave the first dimension of its outputs alone (mean, view, cat)."
        )
    raise ValueError(f"The {what} must return logits [B, K], it returns {_form(output, found)}")


class Logits(nn.Module):
    """A wrapper that returns only a network's logits, for code that only calls it; `network` is the wrapped network."""

    def __init__(self, network: nn.Module, what: str = "model"):
        super().__init__()
        self.network, self.what = network, what

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.network(x), self.what, x)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        inside = getattr(network, "_orig_mod", None)
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inside = network.module
        if not isinstance(inside, nn.Module):
            return network
        network = inside


def require_gradients_(network: nn.Module, flag: bool) -> nn.Module:
    """Do `network.requires_grad_(flag)`, also for a ScriptModule, which lacks this method."""
    for parameter in network.parameters():
        parameter.requires_grad_(flag)
    return network


def state_of(network: nn.Module) -> dict[str, Any]:
    """Return the network's state dict, with the names it has without torch.compile and other wrappers."""
    return {name.replace("_orig_mod.", ""): value for name, value in unwrapped(network).state_dict().items()}


def check_module(what: str, network: object) -> None:
    """Raise ValueError unless a network is a module with values, with advice if it is a name or a state dict."""
    if isinstance(network, nn.Module):
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if tensor.is_meta:
                raise ValueError(
                    f"The {what} has no values: its {name!r} is on the meta device. Give it memory and load its "
                    "weights first: network.to_empty(device='cpu'), then network.load_state_dict(...)."
                )
        for name, parameter in network.named_parameters():
            if nn.parameter.is_lazy(parameter):
                raise ValueError(
                    f"The {what} has no values yet: its parameter {name!r} is empty. Run it once on two images first."
                )
        return
    hint = "Wrap it in a torch.nn.Module."
    if isinstance(network, str):
        hint = f"Make it with advdistill.models.load({network!r}) or create({network!r})."
    elif isinstance(network, Mapping):
        hint = "Load these weights into their network: network.load_state_dict(...)."
    elif isinstance(network, type):
        hint = f"Give an instance: {network.__name__}(...)."
    raise ValueError(f"The {what} must be a torch.nn.Module, got a {type(network).__name__}. {hint}")


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network without its wrappers.

    Raises:
        ValueError: the network cannot be copied.
    """
    network = unwrapped(network)
    try:
        with copying():
            return copy.deepcopy(network)
    except Exception as error:  # any attribute of a module may raise
        raise ValueError(
            f"{type(network).__name__} cannot be copied: {first_line(error)}. Remove what cannot (a lock, a file, a "
            "generator) from the module's attributes, or give it a __deepcopy__."
        ) from error


@contextmanager
def copying() -> Iterator[None]:
    """Let copy.deepcopy also copy computed tensors, which torch refuses to copy; the copies have no graph.

    Computed tensors are the weights under torch.nn.utils.weight_norm and spectral_norm, which a forward pass computes
    again, and outputs that a module stores.
    """
    with torch.no_grad(), _ComputedTensors():  # with gradients, parameters of a ScriptModule's copy would not be leaves
        yield


class _ComputedTensors(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _candidates(output: object) -> list[Tensor]:
    """Return the tensors that may be the logits."""
    if isinstance(output, Tensor):
        return [output]
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return [named]
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, Sequence) else ()
    return [part for part in parts if isinstance(part, Tensor) and part.ndim == 2 and part.is_floating_point()]


def _form(output: object, found: list[Tensor]) -> str:
    if isinstance(output, Tensor):
        kind = "" if output.is_floating_point() else f" of {output.dtype}, which has no gradient"
        return f"shape {list(output.shape)}{kind}. Wrap it in a module."
    shapes = " and ".join(str(list(tensor.shape)) for tensor in found) or "none"
    return f"a {type(output).__name__} with {len(found)} tensors that may be them ({shapes}). Name them 'logits'."
