"""A network as an attack sees it: its weights are fixed, so batch-norm folds away and precision can be lower."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.messages import first_line
from .._internal.modes import in_mode
from .folding import fold, folds_of, hold, take

__all__ = ["Frozen", "lay_out", "native_bf16"]


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device multiplies bf16 natively; `None` is this machine's accelerator, or else its processor."""
    if torch.cuda.is_available() if device is None else torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def lay_out(network: nn.Module, x: Tensor) -> None:
    """Lay a network's weights out channels-last, for which convolutions are faster, if it takes images `x` so."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # it is in no overload of torch's
    if refusal := _refusal(network, x):
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # it is in no overload of torch's
        _say(network, "is not laid out channels-last", refusal)


class Frozen(nn.Module):
    """A fast copy of a network in eval mode: folded batch-norm, channels-last, no parameter gradients.

    Gradients flow to the images only; autocast is off inside. At the first images it is seen to: whatever the network
    does not take is left out, and a warning says so.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        dtype: of the copy's weights and activations, fp32 or bf16; logits come back in fp32.
        compiled: run it through `torch.compile`.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32, compiled: bool = False):
        super().__init__()
        self.dtype, self.compiles = dtype, compiled
        self.folds = folds_of(network)
        self.network = fold(network, self.folds).float()
        self.run: Callable[[Tensor], Tensor] | None = None
        self._settle: Any = partial(self._settled, network)

    @property
    def precision(self) -> str:
        """The copy's arithmetic, as it is printed with results."""
        return {torch.float32: "folded fp32", torch.bfloat16: "bf16"}[self.dtype]

    def refresh(self, network: nn.Module) -> None:
        """Take over the weights and statistics that the network has now."""
        take(self.network, network, self.folds)
        if self.run is None:
            self._settle = partial(self._settled, network)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            run = self.run
            if run is None:
                run = self.run = self._settle(x[:2].detach())
                self._settle = None  # the network may go
            return run(x.to(self.dtype)).float()

    def _settled(self, network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
        if not hold(network, self.folds, x):
            self.folds, self.network = {}, fold(network, {}).float()
            _say(network, "keeps its batch-norm", "folded into the convolutions before it, it is another function")
        lay_out(self.network, x)
        self.network.to(self.dtype)
        if refusal := _refusal(self.network, x.to(self.dtype)):
            _say(network, f"runs in fp32, not {self.precision}", refusal)
            self.dtype = torch.float32
            take(self.network.float(), network, self.folds)
        if not self.compiles:
            return self.network.__call__
        return partial(self._run_compiled, torch.compile(self.network.forward, dynamic=False))

    def _run_compiled(self, compiled: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        try:
            return compiled(x)
        except Exception as error:  # no compiler, or what it cannot follow
            _say(self.network, "runs uncompiled", first_line(error))
            self.run = self.network.__call__
            return self.run(x)


def _refusal(network: nn.Module, x: Tensor) -> str:
    """What a network says of images that it cannot take, or whose gradient it cannot give; nothing if it can."""
    try:
        with torch.enable_grad(), in_mode(network, train=False):
            x = x.detach().requires_grad_()
            logits = network(x)
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), x)
    except RuntimeError as error:
        return first_line(error)
    return ""


def _say(network: nn.Module, what: str, why: str) -> None:
    warnings.warn(f"{type(network).__name__} {what}: {why}", stacklevel=2)
