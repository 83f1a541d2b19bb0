"""The digest that identifies a model in result files: a hash of its weights and of its normalisation."""

from typing import Any

import torch
from torch import Tensor, nn

from .._internal.adapter import state_of, unwrapped
from ..results.weights import digest_of
from .classifier import Classifier
from .external import Normalised

__all__ = ["digest"]


def digest(model: nn.Module) -> str:
    """Return twelve hex digits for a model's weights and, if the class is ours, `+` and eight for mean and std."""
    tensors: dict[str, Any] = {name: value for name, value in state_of(model).items() if isinstance(value, Tensor)}
    flat = ((name, tensor.detach().cpu().contiguous().view(-1)) for name, tensor in tensors.items())
    return digest_of(((name, tensor.view(torch.uint8).numpy()) for name, tensor in flat), _normalisation(model))


def _normalisation(model: nn.Module) -> tuple[Any, Any] | None:
    """Return mean and std `[C]`, which are not in the state dict, as arrays; `None` if the class is not ours."""
    inside = unwrapped(model)
    if not isinstance(inside, Classifier | Normalised):
        return None
    mean, std = (None if one is None else one.detach().cpu().flatten().numpy() for one in (inside.mean, inside.std))
    return mean, std
