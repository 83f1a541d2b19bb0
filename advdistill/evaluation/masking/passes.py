"""Forward and backward passes of clean images: what the cheap signs of gradient masking are read from."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...data.batches import to_float
from ..context import Context
from ..gradients import input_gradient
from ..networks import AttackedNetwork

__all__ = ["Passes", "attackable", "passes"]

FEW = 8  # images passed alone: the others of a batch matter to all or to none


@dataclass(frozen=True)
class Passes:
    """What the passes gave, on the CPU.

    Args:
        logits, again: of the same images in the same batches, twice, `[N, K]`.
        batched, alone: of the first few images, in one batch and each by itself, `[F, K]`.
        zero, not_finite: whether an image's gradient of the cross-entropy is all zeros, or somewhere not finite; `[N]`.
    """

    labels: Tensor
    logits: Tensor
    again: Tensor
    batched: Tensor
    alone: Tensor
    zero: Tensor
    not_finite: Tensor


def passes(context: Context) -> Passes:
    """Pass the clean images of a split through the model."""
    rows, model = [], context.model
    for _, x, y in context.batches():
        with torch.no_grad():
            logits, again = model(x), model(x)
        gradient = input_gradient(lambda leaf: _attached(model(leaf), leaf), x, y).flatten(1)
        rows.append((y, logits, again, (gradient == 0).all(1), ~gradient.isfinite().all(1)))
    y, logits, again, zero, not_finite = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    few = to_float(context.split.images[:FEW].to(context.device))
    return Passes(y, logits, again, *_batched_and_alone(model, few), zero, not_finite)


@torch.no_grad()
def _batched_and_alone(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    # an image alone is twice in its batch: batch statistics cannot be taken of a single one
    alone = torch.cat([model(image.expand(2, -1, -1, -1))[:1] for image in x])
    return model(x).cpu(), alone.cpu()


class _Attackable(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient.nan_to_num(0, 0, 0))
        return _attached(self.model(x), x)


def attackable(model: nn.Module) -> AttackedNetwork:
    """The same logits, and no gradient, or one that is not finite, counts as zero."""
    return AttackedNetwork(_Attackable(model))


def _attached(logits: Tensor, x: Tensor) -> Tensor:
    """The same logits, with a path to the images of gradient zero: a model may have none at all."""
    return logits + 0 * x.flatten(1).sum(1, keepdim=True)
