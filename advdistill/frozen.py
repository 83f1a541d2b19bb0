"""A network as an attack sees it: its weights are fixed, so batch-norm folds away and precision can be lower."""

import copy
import warnings
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .errors import first_line

__all__ = ["Frozen", "native_bf16"]


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device multiplies bf16 natively; `None` is this machine's accelerator, or else its processor."""
    if torch.cuda.is_available() if device is None else torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


class Frozen(nn.Module):
    """A fast copy of a network in eval mode: folded batch-norm, channels-last, no parameter gradients.

    Gradients flow to the images only; autocast is off inside. Where torch.fx cannot trace a module, its parts are
    folded by themselves.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        dtype: of the copy's weights and activations, fp32 or bf16; logits come back in fp32.
        compiled: run it through `torch.compile`; a network that cannot be compiled runs as it is, and a warning says
            so once.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32, compiled: bool = False):
        super().__init__()
        self.dtype = dtype
        self.folds = _folds(network)
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        for convolution, norm in self.folds.items():
            module = self.network.get_submodule(convolution)
            if module.bias is None:
                module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels), requires_grad=False)
            self.network.set_submodule(norm, nn.Identity())
        self.network.to(dtype, memory_format=torch.channels_last)
        self.refresh(network)
        self.compiled = torch.compile(self.network.forward, dynamic=False) if compiled else None

    @property
    def precision(self) -> str:
        """The copy's arithmetic, as it is printed with results."""
        return {torch.float32: "folded fp32", torch.bfloat16: "bf16"}[self.dtype]

    @torch.no_grad()
    def refresh(self, network: nn.Module) -> None:
        """Take over the weights and statistics that the network has now."""
        now = dict(network.named_parameters()) | dict(network.named_buffers())
        for convolution, norm in self.folds.items():
            now |= _folded(convolution, network.get_submodule(convolution), network.get_submodule(norm))
        copies = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        torch._foreach_copy_(list(copies.values()), [now[name] for name in copies])

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.dtype, memory_format=torch.channels_last)
            return (self.network(x) if self.compiled is None else self._as_compiled(x)).float()

    def _as_compiled(self, x: Tensor) -> Tensor:
        try:
            return self.compiled(x)
        except Exception as error:  # no compiler, or what it cannot follow
            warnings.warn(f"{type(self.network).__name__} runs uncompiled: {first_line(error)}", stacklevel=2)
            self.compiled = self.network.forward
            return self.network(x)


def _folded(name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias,
        norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias,
    )  # fmt: skip
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _folds(network: nn.Module) -> dict[str, str]:
    """The batch-norm by the convolution that it follows, both run once and nowhere else."""
    try:
        nodes = fx.symbolic_trace(network).graph.nodes
    except Exception:  # whatever a forward does that tracing cannot follow
        parts = {name: _folds(child) for name, child in network.named_children()}
        return {f"{part}.{c}": f"{part}.{n}" for part, folds in parts.items() for c, n in folds.items()}
    modules, calls = dict(network.named_modules()), Counter(node.target for node in nodes if node.op == "call_module")
    folds = {}
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = modules[before.target], modules[node.target]
        alone = calls[before.target] == calls[node.target] == 1
        if alone and type(convolution) is nn.Conv2d and _folds_away(norm):
            folds[before.target] = node.target
    return folds


def _folds_away(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.running_mean is not None
