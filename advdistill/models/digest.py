"""What names a model in the files of a result: its weights, and how it normalises images."""

from typing import Any

import torch
from torch import Tensor, nn

from .._internal.adapter import state_of, unwrapped
from ..results.weights import digest_of
from .classifier import Classifier
from .external import Normalised

__all__ = ["digest"]


def digest(model: nn.Module) -> str:
    """Twelve hex digits that name a model's weights, and, if it is of this package, `+` and eight for mean and std."""
    tensors: dict[str, Any] = {name: value for name, value in state_of(model).items() if isinstance(value, Tensor)}
    flat = ((name, tensor.detach().cpu().contiguous().view(-1)) for name, tensor in tensors.items())
    return digest_of(((name, tensor.view(torch.uint8).numpy()) for name, tensor in flat), _normalisation(model))


def _normalisation(model: nn.Module) -> tuple[Any, Any] | None:
    """Mean and std `[C]` that are not in the state dict, as arrays; `None` for networks of others."""
    inside = unwrapped(model)
    if not isinstance(inside, Classifier | Normalised):
        return None
    mean, std = (None if one is None else one.detach().cpu().flatten().numpy() for one in (inside.mean, inside.std))
    return mean, std
