"""Batch-norm folded into the convolution before it: in eval mode both are one affine map."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .._internal.adapter import copied as copy_of
from .._internal.adapter import logits_of, require_gradients_
from .._internal.modes import in_mode

__all__ = ["Folds", "copy_folded_weights_", "fold", "fold_preserves_function", "folds_of"]

Folds = dict[str, str]  # convolution to the batch-norm after it, by module names; both are called once
ROUNDING = 1e-3  # relative to the norm of the logits: the effect of fp32 rounding over many layers


def folds_of(network: nn.Module) -> Folds:
    """Return the batch-norms that can be folded, found with torch.fx; if it cannot trace a module, in its children."""
    with in_mode(network, train=False):
        return _traced(network)


def fold(network: nn.Module, folds: Folds) -> nn.Module:
    """Return a folded copy of the network in eval mode, without parameter gradients."""
    copied = require_gradients_(copy_of(network).eval(), False)
    _fold(copied, folds)
    return copied


@torch.no_grad()
def copy_folded_weights_(copied: nn.Module, network: nn.Module, folds: Folds) -> None:
    """Update a folded copy in place to the network's current weights and statistics."""
    _copy(_values(network, folds), copied)


@torch.no_grad()
def fold_preserves_function(network: nn.Module, folds: Folds, x: Tensor) -> bool:
    """Whether the folded network has the same logits for images `[B, C, H, W]`, tested with random statistics.

    A new network's statistics are 0 and 1, and would hide a wrong fold: of a weight that is normalised at use or
    shared, or of an output that is used elsewhere too.
    """
    if not folds:
        return True
    other = copy_of(network).float().eval()
    draws = torch.Generator().manual_seed(0)
    for name in folds.values():
        norm: Any = other.get_submodule(name)
        for values, low, high in ((norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 1.5)):
            if values is not None:
                values.copy_(torch.empty(values.shape).uniform_(low, high, generator=draws))
    expected = logits_of(other(x))
    _fold(other, folds)
    return bool((logits_of(other(x)) - expected).norm() <= ROUNDING * expected.norm())


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
        once = calls[before.target] == calls[node.target] == 1
        if once and type(convolution) is nn.Conv2d and _can_be_folded(norm):
            folds[str(before.target)] = str(node.target)
    return folds


def _can_be_folded(module: nn.Module) -> bool:
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
    targets = dict(network.named_parameters()) | dict(network.named_buffers())
    torch._foreach_copy_(list(targets.values()), [values[name] for name in targets])


def _folded(name: str, convolution: Any, norm: Any) -> dict[str, Tensor]:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias,
        norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
    )  # fmt: skip
    return {f"{name}.weight": weight, f"{name}.bias": bias}
