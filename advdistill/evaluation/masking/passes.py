"""Forward and backward passes of clean images: what the cheap signs of gradient masking are read from."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...data import Split
from ...data.batches import in_order, to_float
from ...losses import cross_entropy

__all__ = ["Climbed", "Passes", "passes"]

FEW = 8  # images looked at alone: the others of a batch matter to all or to none


@dataclass(frozen=True)
class Passes:
    """What the passes gave.

    Args:
        logits, again: of the same images in the same batches, twice, `[N, K]`.
        together, alone: of the first few images, in one batch and each by itself, `[F, K]`.
        zero, broken: whether an image's gradient of the cross-entropy is all zeros, or somewhere not finite; `[N]`.
    """

    labels: Tensor
    logits: Tensor
    again: Tensor
    together: Tensor
    alone: Tensor
    zero: Tensor
    broken: Tensor


class Climbed(nn.Module):
    """What attacks climb: the same logits, and no gradient, or one that is not finite, counts as zero."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient.nan_to_num(0, 0, 0))
        return _attached(self.model(x), x)


def passes(model: nn.Module, split: Split, batch_size: int, device: torch.device | str) -> Passes:
    """Look at the clean images of a split; everything comes back on the CPU."""
    rows = []
    for _, x, y in in_order(split, batch_size, device):
        with torch.no_grad():
            logits, again = model(x), model(x)
        gradient = _gradient(model, x, y).flatten(1)
        rows.append((y, logits, again, (gradient == 0).all(1), ~gradient.isfinite().all(1)))
    y, logits, again, zero, broken = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    return Passes(y, logits, again, *_by_company(model, to_float(split.images[:FEW].to(device))), zero, broken)


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(_attached(model(leaf), leaf), y).sum(), leaf)[0]


def _attached(logits: Tensor, x: Tensor) -> Tensor:
    """The same logits, with a path to the images of gradient zero: a model may have none at all."""
    return logits + 0 * x.flatten(1).sum(1, keepdim=True)


@torch.no_grad()
def _by_company(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    # an image alone stands twice in its batch: batch statistics cannot be taken of a single one
    alone = torch.cat([model(image.expand(2, -1, -1, -1))[:1] for image in x])
    return model(x).cpu(), alone.cpu()
