"""Forward and backward passes of clean images, from which the cheap signs of gradient masking are computed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...data.batches import to_float
from ..context import Context
from ..gradients import input_gradient
from ..networks import AttackedNetwork

__all__ = ["Passes", "attackable", "passes"]

FEW = 8  # images passed alone: all images depend on the others of their batch, or none does


@dataclass(frozen=True)
class Passes:
    """The outputs of the passes, on the CPU.

    Args:
        logits, again: logits of two passes of the same images in the same batches, `[N, K]`.
        batched, alone: logits of the first few images, in one batch and each by itself, `[F, K]`.
        zero, not_finite: whether an image's gradient of the cross-entropy is all zeros, or has values that are not
            finite; `[N]`.
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
    # each image is passed twice in a batch: batch statistics cannot be computed from a single image
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
    """Wrap a model: the logits are the same, and a gradient that is missing or not finite counts as zero."""
    return AttackedNetwork(_Attackable(model))


def _attached(logits: Tensor, x: Tensor) -> Tensor:
    """Return the same logits with an added zero gradient to the images, as a model may have no gradient at all."""
    return logits + 0 * x.flatten(1).sum(1, keepdim=True)
