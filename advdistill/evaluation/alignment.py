"""How alike two networks' input gradients are: what IGDM sets out to raise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import to_float
from ..losses import cross_entropy
from .judged import Judged

__all__ = ["Alignment", "gradient_alignment"]


def true_logit(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of each label, `[B]`."""
    return logits.gather(1, y[:, None]).squeeze(1)


SCALARS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "true_logit": true_logit}


@dataclass(frozen=True)
class Alignment:
    """Means over the images of the cosine and of the L2 distance of two networks' input gradients."""

    cosine: float
    distance: float


def gradient_alignment(
    student: nn.Module, teacher: nn.Module, split: Split, *, batch_size: int = 256, device: torch.device | str = "cpu"
) -> dict[str, Alignment]:
    """Alignment of the gradients at clean images, fp32, eval mode: of the cross-entropy and of the true label's logit.

    The IGDM paper reports both means without saying which scalar's gradient is taken; these are the two usual ones.
    An image whose gradient vanishes in one network counts as cosine 0.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.

    Raises:
        ValueError: a network does not fit the split.
    """
    networks = [Judged(network, split, device) for network in (student, teacher)]
    return {name: _alignment(networks, scalar, split, batch_size, device) for name, scalar in SCALARS.items()}


def _alignment(networks, scalar, split: Split, batch_size: int, device) -> Alignment:
    cosines, distances = [], []
    for start in range(0, len(split), batch_size):
        x = to_float(split.images[start : start + batch_size].to(device))
        y = split.labels[start : start + batch_size].to(device)
        first, second = (_gradient(network, scalar, x, y) for network in networks)
        cosines.append(torch.cosine_similarity(first, second, dim=1))
        distances.append((first - second).norm(dim=1))
    return Alignment(torch.cat(cosines).mean().item(), torch.cat(distances).mean().item())


def _gradient(network: nn.Module, scalar, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(scalar(network(leaf), y).sum(), leaf)[0].flatten(1)
