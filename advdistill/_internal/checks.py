"""Checks of a training step's inputs: whether images, labels and networks fit together, and of coefficients."""

import math

import torch
from torch import Tensor, nn

from .messages import unknown
from .modes import in_mode

__all__ = ["check_adversarial", "check_coefficient", "check_fit", "layer_of"]


def check_coefficient(owner: str, name: str, value: object) -> None:
    """Raise ValueError unless a method's coefficient is a finite number of at least 0, a temperature above 0."""
    divides = name.endswith("temperature")
    if not (isinstance(value, int | float) and 0 <= value < math.inf and (value or not divides)):
        least = "above 0" if divides else "of at least 0"
        raise ValueError(f"{name} of {owner} must be a finite number {least}, got {value!r}.")


def check_fit(student: nn.Module, teachers: dict[str, nn.Module], x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless images `[B, C, H, W]`, labels `[B]`, student and teachers (by role) fit."""
    _check_images(x)
    classes = _classes("student", student, x)
    for role, teacher in teachers.items():
        if (known := _classes(f"{role} teacher", teacher, x)) != classes:
            raise ValueError(f"The {role} teacher has {known} classes, the student {classes}.")
    _check_labels(y, classes)


def _check_images(x: Tensor) -> None:
    """Raise ValueError unless images `[B, C, H, W]` are floats in [0, 1]."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"Images must be floats [B, C, H, W], got {x.dtype} of shape {tuple(x.shape)}.")
    low, high = x.min().item(), x.max().item()
    if not (0 <= low and high <= 1):
        raise ValueError(
            f"Images must lie in [0, 1]; this batch spans [{low:.3g}, {high:.3g}]. "
            "Normalisation belongs inside the model (`mean` and `std` of models.create)."
        )


def _check_labels(y: Tensor, classes: int) -> None:
    """Raise ValueError unless labels `[B]` lie in 0 .. classes - 1."""
    if not (0 <= y.min() and y.max() < classes):
        wrong = y[(y < 0) | (y >= classes)][0].item()
        raise ValueError(f"Labels must lie in 0..{classes - 1} for {classes} classes; this batch has {wrong}.")


def _classes(what: str, network: nn.Module, x: Tensor) -> int:
    try:
        with torch.no_grad(), in_mode(network, False):
            return network(x[:2]).shape[1]
    except RuntimeError as error:
        raise ValueError(f"The {what} cannot take images of shape {tuple(x.shape[1:])}: {error}") from error


def layer_of(network: nn.Module, name: str, role: str) -> nn.Module:
    """A submodule by its name, also of a network that DDP, Fabric or torch.compile has wrapped."""
    for wrapped in (network, *(getattr(network, of, None) for of in ("_orig_mod", "module"))):
        if isinstance(wrapped, nn.Module) and (found := dict(wrapped.named_modules()).get(name)) is not None:
            return found
    raise unknown(f"layer of the {role}", name, [known for known, _ in network.named_modules() if known])


def check_adversarial(x_adv: Tensor | dict[str, Tensor], x: Tensor, first: bool) -> None:
    """Raise ValueError unless x', or each x' by name, are images like x; their values are read at the first batch."""
    for name, images in (x_adv if isinstance(x_adv, dict) else {"x'": x_adv}).items():
        if not isinstance(images, Tensor) or images.shape != x.shape or images.dtype != x.dtype:
            form = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"craft() must return images like x, {x.dtype} {list(x.shape)}; {name} is {form}.")
        if first and not images.isfinite().all():
            raise ValueError(f"craft() returned images that are NaN or infinite ({name}).")
    if isinstance(x_adv, dict) and not x_adv:
        raise ValueError("craft() returned no images; at least one x' is needed.")
