"""A network as an attack sees it: its weights are fixed, so batch-norm folds away and precision can be lower."""

import copy

import torch
from torch import Tensor, nn

__all__ = ["Frozen", "native_bf16"]


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device multiplies bf16 natively; `None` is this machine's accelerator, or else its processor."""
    if torch.cuda.is_available() if device is None else torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


class Frozen(nn.Module):
    """A fast copy of a network in eval mode: folded batch-norm, channels-last, no parameter gradients.

    Gradients flow to the images only. A network that torch.fx cannot trace is folded part by part.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        dtype: of the copy's weights and activations, fp32 or bf16; logits come back in fp32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        folded = _fold(copy.deepcopy(network).eval())
        self.dtype = dtype
        self.network = folded.requires_grad_(False).to(dtype, memory_format=torch.channels_last)

    @property
    def precision(self) -> str:
        """The copy's arithmetic, as it is printed with results."""
        return {torch.float32: "folded fp32", torch.bfloat16: "bf16"}[self.dtype]

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.to(self.dtype, memory_format=torch.channels_last)).float()


def _fold(network: nn.Module) -> nn.Module:
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(network)
    except Exception:  # whatever a forward does that tracing cannot follow
        for name, child in network.named_children():
            setattr(network, name, _fold(child))
        return network
