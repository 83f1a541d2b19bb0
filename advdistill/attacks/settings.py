"""Settings of attacks as data: plain values that are the same in every process, and how they are printed."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ..threat import Threat, show_pixels

__all__ = ["described", "plain"]


def plain(value: Any) -> Any:
    """Convert a value to data: numbers and text unchanged, tensors and networks to a digest, others to their repr.

    >>> plain({"steps": 3, "sizes": (1, 2)})
    {'steps': 3, 'sizes': [1, 2]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return f"tensor {list(value.shape)} {_digest({'': value})}"
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {_digest(value.state_dict())}"
    if isinstance(value, get_args(Threat)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "__qualname__"):  # functions and classes
        return value.__qualname__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def described(settings: Mapping[str, object]) -> str:
    """Format settings as one line, lengths in pixels as n/255.

    >>> described({"eps": 8 / 255, "steps": 3})
    'eps 8/255, steps 3'
    """
    return ", ".join(f"{name} {_shown(value)}" for name, value in settings.items())


def _shown(value: object) -> str:
    return show_pixels(value) if isinstance(value, float) and 0 <= value <= 1 else str(value)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]
