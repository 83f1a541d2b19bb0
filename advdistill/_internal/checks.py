"""Checks of a training step's inputs (do images, labels and networks fit together?) and of coefficients."""

import math
import warnings

import torch
from torch import Tensor, nn

from .adapter import check_module, logits_of
from .messages import first_line, unknown
from .modes import in_mode

__all__ = [
    *("check_adversarial", "check_coefficient", "check_distributions", "check_fit", "class_labels", "hint_at_softmax"),
    *("layer_of", "trial"),
]


def check_coefficient(owner: str, name: str, value: object) -> None:
    """Raise ValueError unless a method's coefficient is a finite number of at least 0, or above 0 for a temperature."""
    divides = name.endswith("temperature")
    if not (isinstance(value, int | float) and 0 <= value < math.inf and (value or not divides)):
        least = "above 0" if divides else "of at least 0"
        raise ValueError(f"{name} of {owner} must be a finite number {least}, got {value!r}.")


def check_fit(student: nn.Module, teachers: dict[str, nn.Module], x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless images `[B, C, H, W]`, labels `[B]`, student and teachers (by role) fit.

    Warns:
        UserWarning: the outputs of a network look like probabilities.
    """
    _check_images(x)
    check_module("student", student)
    classes = _classes("student", student, x)
    for role, teacher in teachers.items():
        if (known := _classes(f"{role} teacher", teacher, x)) != classes:
            raise ValueError(f"The {role} teacher has {known} classes, the student {classes}.")
    _check_labels(y, classes)
    for role in (role for role, teacher in teachers.items() if teacher is student):
        raise ValueError(f"The {role} teacher is the student itself. Give a copy of it: copy.deepcopy(student).")


def class_labels(y: Tensor, x: Tensor) -> Tensor:
    """Convert labels `[B]` of images `[B, C, H, W]` from any integer type to int64; no value is read.

    Raises:
        ValueError: images or labels have another form, or their numbers differ.
    """
    _check_form(x)
    integers = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if integers and y.shape == x.shape[:1]:
        return y.to(x.device, torch.int64)
    form = f"{y.dtype} {list(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
    raise ValueError(
        f"Labels must be the numbers of classes, integers [B] for {len(x)} images; got {form}. {_instead(y, len(x))}"
    )


def check_distributions(targets: Tensor, y: Tensor) -> None:
    """Raise ValueError unless distributions over the classes are `[B, K]` for labels `[B]`, and each adds up to 1."""
    if not (isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape[:-1] == y.shape):
        kind = type(targets).__name__
        form = f"{targets.dtype} {list(targets.shape)}" if isinstance(targets, Tensor) else f"a {kind}"
        raise ValueError(f"targets must be distributions, floats [B, K] for {len(y)} images; got {form}.")
    far = (targets.sum(1) - 1).abs().max().item()
    if targets.min() < 0 or far > 1e-3:
        raise ValueError("targets must be distributions, at least 0 and adding up to 1 in each row; this batch has a "
                         f"value of {targets.min():.3g}, and a sum that is {far:.3g} off.")  # fmt: skip


def _instead(y: object, images: int) -> str:
    """Return advice for labels of another form."""
    if not isinstance(y, Tensor):
        return "Give a tensor: torch.as_tensor(y)."
    if y.shape == (images, 1):
        return "Give y[:, 0]."
    if y.ndim == 2 and len(y) == images:
        return "One-hot labels become numbers by y.argmax(1)."
    if y.shape == (images,):
        return "Give y.long()."
    return "Give one number for each image."


def _check_form(x: Tensor) -> None:
    """Raise ValueError unless images are floats `[B, C, H, W]`."""
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point():
        form = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        bytes_of_pixels = isinstance(x, Tensor) and x.dtype == torch.uint8
        hint = " Pixels of 0..255 become such by x.float() / 255." if bytes_of_pixels else ""
        raise ValueError(f"Images must be floats [B, C, H, W], got {form}.{hint}")


def _check_images(x: Tensor) -> None:
    """Raise ValueError unless images `[B, C, H, W]` are floats in [0, 1]."""
    _check_form(x)
    low, high = x.min().item(), x.max().item()
    if not (0 <= low and high <= 1):
        pixels = low >= 0 and 2 < high <= 255
        raise ValueError(
            f"Images must lie in [0, 1]; this batch spans [{low:.3g}, {high:.3g}]. "
            + ("Divide pixels of 0..255 by 255: x / 255." if pixels else
               "Normalisation belongs inside the model (`mean` and `std` of models.create).")
        )  # fmt: skip


def _check_labels(y: Tensor, classes: int) -> None:
    """Raise ValueError unless labels `[B]` lie in 0 .. classes - 1."""
    if not (0 <= y.min() and y.max() < classes):
        wrong = y[(y < 0) | (y >= classes)][0].item()
        raise ValueError(f"Labels must lie in 0..{classes - 1} for {classes} classes; this batch has {wrong}.")


def _classes(what: str, network: nn.Module, x: Tensor) -> int:
    student = what == "student"
    with torch.set_grad_enabled(student), in_mode(network, False):
        logits = trial(what, network, x[:2])
    if student and not logits.requires_grad:
        raise ValueError(
            "The student's logits have no gradient: its forward pass runs under torch.no_grad or detaches them. "
            "Remove that from its forward; evaluation and attacks turn gradients off by themselves."
        )
    hint_at_softmax(what, logits)
    return logits.shape[1]


def trial(what: str, network: nn.Module, x: Tensor, of: str = "") -> Tensor:
    """Return the logits `[B, K]` of a network's first pass on images `[B, C, H, W]`, which are not changed.

    Args:
        what: the network's name in messages.
        of: text for messages that names the origin of the images.

    Raises:
        ValueError: the network does not accept the images, changes them in place, or does not return logits.
    """
    images = x.detach().clone().requires_grad_(torch.is_grad_enabled())
    version = images._version
    try:
        output = network(images)
    except Exception as error:  # a forward may raise anything on images that do not fit
        overwritten = "in-place operation" in str(error)
        raise ValueError(_overwrites(what) if overwritten else _misfit(what, network, x, of, error)) from error
    if images._version != version:
        raise ValueError(_overwrites(what))
    return logits_of(output, what, x)


def _overwrites(what: str) -> str:
    return (
        f"The {what} changes its input in place, and with it the images of the batch. "
        "Write x = x - mean in place of x -= mean, and no inplace=True in the first layer."
    )


def _misfit(what: str, network: nn.Module, x: Tensor, of: str, error: Exception) -> str:
    """Explain why a network rejects images: another precision, another device, or its own error."""
    weights = next((p for p in network.parameters() if p.is_floating_point()), x)
    if weights.device != x.device:
        return f"The {what} is on {weights.device}, the images on {x.device}; move one of them with .to(...)."
    if weights.dtype != x.dtype and "type" in str(error):
        ours, theirs = (str(tensor.dtype).removeprefix("torch.") for tensor in (weights, x))
        return (
            f"The {what} has weights of {ours}, the images are {theirs}. Convert one of them: "
            f"x.to(torch.{ours}), or the {what} with .to(torch.{theirs})."
        )
    return f"The {what} cannot take images of shape {tuple(x.shape[1:])}{of}: {first_line(error)}"


def hint_at_softmax(what: str, logits: Tensor) -> None:
    """Warn if logits `[B, K]` are probabilities, whose softmax would be nearly uniform."""
    values = logits.detach().float()
    sums = values.shape[1] > 1 and bool((values.sum(1) - 1).abs().max() < 1e-4)
    if sums and values.min() >= 0 and not (values == values.round()).all():
        warnings.warn(
            f"The outputs of the {what} look like probabilities: each row lies in [0, 1] and adds up to 1. Expected "
            "are logits; remove the softmax at the end.",
            stacklevel=3,
        )


def layer_of(network: nn.Module, name: str, role: str) -> nn.Module:
    """Return a submodule by its name, also of a network wrapped by DDP, Fabric or torch.compile."""
    for wrapped in (network, *(getattr(network, of, None) for of in ("_orig_mod", "module"))):
        if isinstance(wrapped, nn.Module) and (found := _named(wrapped).get(name)) is not None:
            return found
    raise unknown(f"layer of the {role}", name, [known for known in _named(network) if known])


def _named(network: nn.Module) -> dict[str, nn.Module]:
    """Return all submodules, under each of their names."""
    return dict(network.named_modules(remove_duplicate=False))


def check_adversarial(x_adv: Tensor | dict[str, Tensor], x: Tensor, first: bool) -> None:
    """Raise ValueError unless x', or each x' by name, are images like x; values are checked if `first`."""
    for name, images in (x_adv if isinstance(x_adv, dict) else {"x'": x_adv}).items():
        if not isinstance(images, Tensor) or images.shape != x.shape or images.dtype != x.dtype:
            form = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"craft() must return images like x, {x.dtype} {list(x.shape)}; {name} is {form}.")
        if first and not images.isfinite().all():
            raise ValueError(f"craft() returned images that are NaN or infinite ({name}).")
    if isinstance(x_adv, dict) and not x_adv:
        raise ValueError("craft() returned no images; at least one x' is needed.")
