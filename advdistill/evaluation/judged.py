"""The network that evaluation looks at: a copy in fp32 and eval mode, whose every output is checked."""

import copy

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import to_float

__all__ = ["Judged"]


class Judged(nn.Module):
    """A frozen fp32 copy of a model; the model itself stays as it is.

    Raises:
        ValueError: the model does not take the split's images, or gives something else than finite logits `[B, K]`,
            one for each of the split's classes; checked at once on two images, then at every call.
    """

    def __init__(self, model: nn.Module, split: Split, device: torch.device | str = "cpu"):
        super().__init__()
        self.network = copy.deepcopy(model).eval().requires_grad_(False).to(device, torch.float32)
        self.classes = split.num_classes
        try:
            self(to_float(split.images[:2].to(device)))
        except RuntimeError as error:
            raise ValueError(f"The model cannot take images of shape {split.shape} ({split.name}): {error}") from error

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ValueError(f"The model must return logits [B, K], it returns {_form(logits)}. Wrap it in a module.")
        if logits.shape[1] != self.classes:
            raise ValueError(f"The model gives {logits.shape[1]} logits, the split has {self.classes} classes.")
        if not logits.isfinite().all():
            raise ValueError("The model gives logits that are NaN or infinite; its accuracy would mean nothing.")
        return logits


def _form(output: object) -> str:
    return f"shape {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
