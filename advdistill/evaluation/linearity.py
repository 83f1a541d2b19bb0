"""How far a network is from linear around an image: what IGDM needs its teacher to be close to."""

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import in_order
from ..rng import Rng
from ..threat import Linf, Threat
from .judged import Judged

__all__ = ["linearity_remainder"]


def linearity_remainder(
    model: nn.Module,
    split: Split,
    threat: Threat | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """Mean over the images of what the linearisation at x misses of the logits f at x + d, fp32, eval mode.

        || f(x + d) - f(x) - J d ||_2 / || f(x + d) ||_2,   J = df/dx at x,   d uniform in the threat's ball

    x + d is not brought back into the pixel range. J d is taken in forward mode (torch.func.jvp): exact, in the memory
    of two forward passes, where the double-backward trick differentiates twice.

    Args:
        model: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        threat: `None` is Linf 8/255, the ball of the figures in the IGDM paper.

    Raises:
        ValueError: the model does not fit the split.
        NotImplementedError: torch knows no forward derivative of one of the model's operations; it names which.
    """
    judged, threat, found = Judged(model, split, device), threat or Linf("8/255"), []
    # TF32 rounds to three digits, and the remainder of a robust network is hardly larger
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start, x, _ in in_order(split, batch_size, device):
            d = threat.sample(x, Rng(seed, "uniform", start, device=device))
            found.append(_remainder(judged, x, d))
    return torch.cat(found).mean().item()


def _remainder(network: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    at_x, change = torch.func.jvp(network, (x,), (d,))[:2]
    moved = network(x + d)
    return (moved - at_x - change).norm(dim=1) / moved.norm(dim=1).clamp(min=1e-12)
