"""Batch-norm folded into the convolution before it: in eval mode both are one affine map."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .._internal.modes import in_mode

__all__ = ["Folds", "fold", "folds_of", "hold", "take"]

Folds = dict[str, str]  # the batch-norm by the convolution that it follows, both run once and nowhere else
ROUNDING = 1e-3  # of the logits' length, in fp32 over many layers


def folds_of(network: nn.Module) -> Folds:
    """What can be folded, as far as torch.fx can tell; where it cannot trace a module, in its parts by themselves."""
    with in_mode(network, train=False):
        return _traced(network)


def fold(network: nn.Module, folds: Folds) -> nn.Module:
    """A copy in eval mode without those batch-norms and without gradients of parameters."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    _fold(copied, folds)
    return copied


@torch.no_grad()
def take(copied: nn.Module, network: nn.Module, folds: Folds) -> None:
    """Give a folded copy the weights and statistics that the network has now."""
    _copy(_values(network, folds), copied)


@torch.no_grad()
def hold(network: nn.Module, folds: Folds, x: Tensor) -> bool:
    """Whether the folded network is the same function of images `[B, C, H, W]`, tried with other statistics.

    Those of a new network are 0 and 1, and would hide a fold that is none: of a weight that is normalised as it is
    used, or shared, or of an output that something else reads as well.
    """
    if not folds:
        return True
    other = copy.deepcopy(network).float().eval()
    draws = torch.Generator().manual_seed(0)
    for name in folds.values():
        norm: Any = other.get_submodule(name)
        for values, low, high in ((norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 1.5)):
            if values is not None:
                values.copy_(torch.empty(values.shape).uniform_(low, high, generator=draws))
    wanted = other(x)
    _fold(other, folds)
    return bool((other(x) - wanted).norm() <= ROUNDING * wanted.norm())


def _traced(network: nn.Module) -> Folds:
    try:
        nodes = fx.symbolic_trace(network).graph.nodes
    except Exception:  # whatever a forward does that tracing cannot follow
        parts = {name: _traced(child) for name, child in network.named_children()}
        return {f"{part}.{c}": f"{part}.{n}" for part, folds in parts.items() for c, n in folds.items()}
    modules, calls = dict(network.named_modules()), Counter(node.target for node in nodes if node.op == "call_module")
    folds: Folds = {}
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = modules[before.target], modules[node.target]
        alone = calls[before.target] == calls[node.target] == 1
        if alone and type(convolution) is nn.Conv2d and _folds_away(norm):
            folds[str(before.target)] = str(node.target)
    return folds


def _folds_away(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.running_mean is not None


@torch.no_grad()
def _fold(network: nn.Module, folds: Folds) -> None:
    values = _values(network, folds)
    for convolution, norm in folds.items():
        module: Any = network.get_submodule(convolution)
        if module.bias is None:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels), requires_grad=False)
        network.set_submodule(norm, nn.Identity())
    _copy(values, network)


def _values(network: nn.Module, folds: Folds) -> dict[str, Tensor]:
    """Parameters and buffers of the folded network, by name."""
    values = dict(network.named_parameters()) | dict(network.named_buffers())
    for convolution, norm in folds.items():
        values |= _folded(convolution, network.get_submodule(convolution), network.get_submodule(norm))
    return values


def _copy(values: dict[str, Tensor], network: nn.Module) -> None:
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    torch._foreach_copy_(list(own.values()), [values[name] for name in own])


def _folded(name: str, convolution: Any, norm: Any) -> dict[str, Tensor]:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias,
        norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
    )  # fmt: skip
    return {f"{name}.weight": weight, f"{name}.bias": bias}
