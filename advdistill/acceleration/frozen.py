"""Fast copies of networks for an attack, which does not change weights: folded batch-norm, lower precision."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.adapter import logits_of, unwrapped
from .._internal.messages import first_line
from .._internal.modes import in_mode
from .folding import copy_folded_weights_, fold, fold_preserves_function, folds_of

__all__ = ["Frozen", "FrozenCopies", "native_bf16", "to_channels_last"]


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device computes in bf16 natively; `None` is this machine's GPU, or else its CPU."""
    if torch.cuda.is_available() if device is None else torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def to_channels_last(network: nn.Module, x: Tensor) -> None:
    """Make a network's weights channels-last in place, for speed, if the network then still runs on images `x`.

    Args:
        x: `[B, C, H, W]` in [0, 1].

    Warns:
        UserWarning: the network does not run channels-last; its weights are then contiguous.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # it is in no torch overload
    if refusal := _refusal(network, x):
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # it is in no torch overload
        _warn(network, "is not laid out channels-last", refusal)


class Frozen(nn.Module):
    """A fast copy of a network in eval mode: folded batch-norm, channels-last, no parameter gradients.

    Gradients flow to the images only; autocast is off inside. The first forward pass tries each of these changes, and
    skips with a warning those that the network does not support.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it is not changed.
        dtype: dtype of the copy's weights and activations, fp32 or bf16; logits are fp32.
        compiled: run the copy through `torch.compile`.
        layers: names of submodules whose outputs are read: folds that would change their outputs are left out, and
            with any such layer the copy is not compiled.
    """

    def __init__(
        self, network: nn.Module, dtype: torch.dtype = torch.float32, compiled: bool = False, layers: Sequence[str] = ()
    ):
        super().__init__()
        self.dtype, self.compiled, network = dtype, compiled and not layers, unwrapped(network)
        self.folds = {conv: norm for conv, norm in folds_of(network).items() if not _is_read(conv, norm, layers)}
        self.network = fold(network, self.folds).float()
        self.run: Callable[[Tensor], object] | None = None
        self._prepare: Any = partial(self._prepared, network)

    @property
    def precision(self) -> str:
        """The copy's precision as printed in results: "folded fp32" or "bf16"."""
        return {torch.float32: "folded fp32", torch.bfloat16: "bf16"}[self.dtype]

    def refresh(self, network: nn.Module) -> None:
        """Update the copy to the network's current weights and statistics."""
        network = unwrapped(network)
        copy_folded_weights_(self.network, network, self.folds)
        if self.run is None:
            self._prepare = partial(self._prepared, network)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            run = self.run
            if run is None:
                run = self.run = self._prepare(x[:2].detach())
                self._prepare = None  # it has a reference to the network
            return logits_of(run(x.to(self.dtype))).float()

    def _prepared(self, network: nn.Module, x: Tensor) -> Callable[[Tensor], object]:
        """Return the forward pass with the folding, layout, precision and compilation that the network supports."""
        if not fold_preserves_function(network, self.folds, x):
            self.folds, self.network = {}, fold(network, {}).float()
            _warn(network, "keeps its batch-norm", "folded, the network is another function")
        to_channels_last(self.network, x)
        self.network.to(self.dtype)
        if refusal := _refusal(self.network, x.to(self.dtype)):
            _warn(network, f"runs in fp32, not {self.precision}", refusal)
            self.dtype = torch.float32
            copy_folded_weights_(self.network.float(), network, self.folds)
        if not self.compiled:
            return self.network.__call__
        return partial(self._run_compiled, torch.compile(self.network.forward, dynamic=False))

    def layer(self, name: str, x: Tensor) -> nn.Module:
        """Return one of `layers` in this copy; if the copy has not run yet, it is first run on images `x`."""
        if self.run is None:
            self(x)
        return self.network.get_submodule(name)

    def _run_compiled(self, compiled: Callable[[Tensor], object], x: Tensor) -> object:
        try:
            return compiled(x)
        except Exception as error:  # no compiler, or code that it cannot compile
            _warn(self.network, "runs uncompiled", first_line(error))
            self.run = self.network.__call__
            return self.run(x)


class FrozenCopies:
    """Fast copies of several networks, each created at its first use.

    Args:
        dtype: as in `Frozen`; `None` to use the networks themselves, without copies.
        compiled: as in `Frozen`.
        layers: as in `Frozen`, by role.

    Attributes:
        by_role: the copies created so far.
    """

    def __init__(self, dtype: torch.dtype | None, compiled: bool, layers: Mapping[str, Sequence[str]]):
        self.dtype, self.compiled, self.layers = dtype, compiled, layers
        self.by_role: dict[str, Frozen] = {}
        self._networks: dict[str, nn.Module] = {}

    def __call__(self, role: str, network: nn.Module, changes: bool) -> nn.Module:
        """Return the copy of the network in this role, updated first if the network `changes` from call to call."""
        if self.dtype is None:
            return network
        if self._networks.get(role) is not network:
            self._networks[role] = network
            self.by_role[role] = Frozen(network, self.dtype, self.compiled, self.layers.get(role, ()))
        elif changes:
            self.by_role[role].refresh(network)
        return self.by_role[role]

    def without(self, role: str) -> "FrozenCopies":
        """Return the same copies except this role's, for use with another network; new copies are not compiled."""
        others = FrozenCopies(self.dtype, False, self.layers)
        others.by_role = {name: copy for name, copy in self.by_role.items() if name != role}
        others._networks = {name: network for name, network in self._networks.items() if name != role}
        return others


def _is_read(conv: str, norm: str, layers: Sequence[str]) -> bool:
    """Whether a layer has the convolution but not the batch-norm after it, so that folding changes its output."""
    return any(f"{conv}.".startswith(f"{name}.") and not f"{norm}.".startswith(f"{name}.") for name in layers)


def _refusal(network: nn.Module, x: Tensor) -> str:
    """Return the error of a forward and backward pass on images, or an empty string."""
    try:
        with torch.enable_grad(), in_mode(network, train=False):
            x = x.detach().requires_grad_()
            logits = logits_of(network(x))
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), x)
    except RuntimeError as error:
        return first_line(error)
    return ""


def _warn(network: nn.Module, what: str, why: str) -> None:
    warnings.warn(f"{type(network).__name__} {what}: {why}", stacklevel=2)
