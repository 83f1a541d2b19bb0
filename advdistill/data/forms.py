"""Convert users' images and labels to the tensors of a `Split`; an error states in a sentence what does not fit."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches import to_float

__all__ = ["as_images", "as_labels", "as_tensor", "compact"]

CHANNELS = (1, 3, 4)  # numbers of channels by which images with channels last are recognised
PART = 1024  # images compared at once
OVERSHOOT = 0.1  # by which interpolated pixels may leave [0, 1]; normalised pixels leave it by more


def as_images(given: Any, name: str) -> Tensor:
    """Return images `[N, C, H, W]`, uint8 or float32 in [0, 1], on the same device.

    Args:
        given: a tensor or an array, uint8 or of any floating type.
        name: name of the data, for messages.

    Raises:
        ValueError: unsupported type, shape or range.
    """
    images = as_tensor(given, f"{name}: images")
    shape = list(images.shape)
    if images.ndim == 3:
        raise ValueError(f"{name}: images of shape {shape} have no axis of channels; expected [N, C, H, W]. "
                         "images[:, None] adds it.")  # fmt: skip
    if images.ndim != 4:
        raise ValueError(f"{name}: images must be [N, C, H, W], got shape {shape}.")
    if 0 in shape:
        raise ValueError(f"{name}: there are no images; their shape is {shape}.")
    if shape[3] in CHANNELS and shape[1] > max(CHANNELS):
        raise ValueError(f"{name}: images of shape {shape} have their channels last; expected [N, C, H, W]. "
                         "Give images.permute(0, 3, 1, 2), of an array images.transpose(0, 3, 1, 2).")  # fmt: skip
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"{name}: images are {_kind(images)}; expected uint8 from 0 to 255, or floats in [0, 1].")
    images = images.to(torch.float32)
    _check_range(images, name)
    return images


def _check_range(images: Tensor, name: str) -> None:
    low, high = (end.item() for end in images.aminmax())
    if low >= 0 and high <= 1:
        return
    if not abs(low) + abs(high) < float("inf"):
        raise ValueError(f"{name}: some pixels are NaN or infinite; images must lie in [0, 1].")
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        remedy = "Clamp them: images.clamp(0, 1)."
    elif low < 0:
        remedy = "Leave normalisation to the model: `mean` and `std` of models.create, or a first layer of your own."
    else:
        remedy = "Divide them by 255." if high <= 255 else "Scale them."
    raise ValueError(f"{name}: images must lie in [0, 1]; these span [{low:.3g}, {high:.3g}]. {remedy}")


def as_labels(given: Any, name: str) -> Tensor:
    """Return labels int64 `[N]`, on the same device.

    Args:
        given: whole numbers `[N]` or `[N, 1]` of any integer type: a tensor, an array or a list.

    Raises:
        ValueError: unsupported type or shape.
    """
    labels = as_tensor(given, f"{name}: labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise ValueError(f"{name}: labels of shape {list(labels.shape)} seem to be one-hot or probabilities; expected "
                         "a class number for each image. Give labels.argmax(1).")  # fmt: skip
    if labels.ndim != 1:
        raise ValueError(f"{name}: labels must be [N], one for each image, got shape {list(labels.shape)}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels are {_kind(labels)}; expected whole numbers, the classes. "
                         "Give labels.long(), of an array labels.astype(int).")  # fmt: skip
    return labels.to(torch.int64)


def compact(images: Tensor) -> Tensor:
    """Return the images as uint8 if each pixel is exactly n/255, else unchanged."""
    if images.dtype == torch.uint8:
        return images
    levels = []
    for part in images.split(PART):
        levels.append(part.mul(255).round_().to(torch.uint8))
        if not torch.equal(to_float(levels[-1]), part):
            return images
    return torch.cat(levels)


def as_tensor(given: Any, what: str) -> Tensor:
    """Return a detached tensor of numbers, copied only if necessary. Raises ValueError otherwise, naming `what`."""
    if isinstance(given, Tensor):
        return given.detach() if given.requires_grad else given
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError):  # arrays of several shapes, or not on the CPU
        array = np.empty(0, object)
    if array.dtype.kind not in "buif":
        shown = type(given).__name__ if array.dtype.kind == "O" else f"an array of {array.dtype}"
        raise ValueError(f"{what} must be a tensor or an array of numbers, got {shown}.")
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
