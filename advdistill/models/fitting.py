"""Find the zoo architecture that fits a state dict, by keys and shapes, and describe what does not fit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .._internal.reading import printable
from .classifier import ModelSpec
from .zoo import ZOO, create

__all__ = ["Fit", "Shapes", "cause", "fit_to", "nearest"]

Shapes = dict[str, tuple[int, ...]]
STEMS = ("conv1.weight", "init_conv.weight", "conv_2d.weight")
HEADS = {"fc", "linear", "classifier", "head", "logits"}
CAUSES = {  # by the endings of unexpected keys
    ("weight_g", "weight_v", "original0", "original1"):
        "Its weights are split by weight_norm: remove it before saving (torch.nn.utils.parametrize).",
    ("weight_orig", "weight_mask", "weight_u"):
        "Its weights are pruned or under spectral_norm: remove that before saving (torch.nn.utils).",
    ("lora_A", "lora_B", "lora_A.weight", "lora_B.weight"):
        "It holds LoRA's additions: merge them into the network before saving.",
    ("scale", "zero_point", "_packed_params", "_packed_params._packed_params", "qweight", "qzeros"):
        "It is quantised: give the float weights of which it was made.",
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How a state dict compares with the network `spec`; `str()` lists what does not fit.

    Attributes:
        renamed: the network's names of keys that have other names in the file.
    """

    spec: ModelSpec
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        return ", ".join([
            f"{len(self.missing)} keys missing{_few(self.missing)}",
            f"{len(self.unexpected)} unexpected{_few(self.unexpected)}",
            f"{len(self.reshaped)} of another shape{_few(self.reshaped)}",
        ])


def fit_to(name: str, shapes: Shapes, sizes: tuple[int, int] | None = None, named: bool = True) -> Fit:
    """Compare `shapes` with the architecture `name`.

    `sizes`: classes and channels, by default those that `shapes` show. `named`: the user named this architecture.
    """
    classes, channels = sizes or (_num_classes(shapes), _in_channels(shapes))
    try:
        spec, wanted = _wanted(name, classes, channels)
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError):
        raise ValueError(f"There is no {name!r} of {classes} classes and {channels} channels.") from None
    fit = _compared(spec, shapes, wanted)
    if fit.misfits and (renamed := _renamed(shapes, wanted, named)):
        other = _compared(spec, {renamed.get(key, key): shape for key, shape in shapes.items()}, wanted)
        fit = fit if other.misfits else replace(other, renamed=renamed)
    return fit


class _Undrawn(TorchFunctionMode):
    """Skip initialisation: weights have no values on the meta device, and drawing them took most of the time."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if function in (Tensor.normal_, Tensor.uniform_) else function(*args, **(kwargs or {}))


@lru_cache(maxsize=256)  # successive files mostly have the same candidates
def _wanted(name: str, classes: int, channels: int) -> tuple[ModelSpec, Shapes]:
    """Return an architecture's spec and the shapes of its state dict, without allocating its weights."""
    with torch.device("meta"), _Undrawn():
        model = create(name, classes, channels)
    return model.spec, {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _compared(spec: ModelSpec, shapes: Shapes, wanted: Shapes) -> Fit:
    # BatchNorm's counter came with PyTorch 0.4.1 and is filled in when an older file lacks it.
    missing = [key for key in wanted if key not in shapes and not key.endswith("num_batches_tracked")]
    reshaped = [f"{key} is {list(shapes[key])}, not {list(wanted[key])}"
                for key in wanted if key in shapes and shapes[key] != wanted[key]]
    return Fit(spec, missing, [key for key in shapes if key not in wanted], reshaped)


def _renamed(shapes: Shapes, wanted: Shapes, named: bool) -> dict[str, str]:
    """Map the file's keys of the head and of shortcuts to the network's names, where they differ.

    A ResNet-18 or -34 with torchvision's `downsample` may also have its max-pooling, which the file does not show, so
    `downsample` is accepted only if the user named the architecture.
    """
    heads = [key.removesuffix(".weight") for names in (shapes, wanted) for key, shape in names.items()
             if len(shape) == 2 and key.removesuffix(".weight") in HEADS]
    ours = "downsample" if any(".downsample." in key for key in wanted) else "shortcut"
    theirs = "shortcut" if ours == "downsample" else "downsample"
    found = {}
    for key in shapes:
        new = key
        if len(heads) == 2 and key.rpartition(".")[0] == heads[0]:
            new = f"{heads[1]}.{key.rpartition('.')[2]}"
        if ours == "downsample" or named:
            new = new.replace(f".{theirs}.", f".{ours}.")
        if new != key and new not in shapes:
            found[key] = new
    return found


def nearest(shapes: Shapes) -> list[Fit]:
    """Return the zoo architectures that fit best, with sizes such as depth and width read off the shapes.

    If some of them fit under the file's own names, those that need renamed keys are left out.
    """
    fits = [fit_to(name, shapes, named=False) for name in _candidates(shapes)]
    least = min((fit.misfits, bool(fit.renamed)) for fit in fits)
    return [fit for fit in fits if (fit.misfits, bool(fit.renamed)) == least]


def _candidates(shapes: Shapes) -> Iterable[str]:
    for family, entry in ZOO.items():
        yield "-".join([family, *map(str, entry.infer(shapes))])


def _num_classes(shapes: Shapes) -> int:
    """Return the number of rows of the head, which is the only matrix in any network of the zoo."""
    return next((shape[0] for shape in shapes.values() if len(shape) == 2), 10)


def _in_channels(shapes: Shapes) -> int:
    stem = next((shapes[key] for key in STEMS if key in shapes), ())
    return stem[1] if len(stem) == 4 else 3


def cause(fit: Fit, path: Path) -> str:
    """Return a sentence on why nothing fits; an empty string if the keys do not show it."""
    for ends, sentence in CAUSES.items():
        if any(key.endswith(ends) for key in fit.unexpected):
            return f" {sentence}"
    if any(".downsample." in key for key in fit.unexpected):
        return (f" If it is a torchvision ResNet with a 3 x 3 stem and without max-pooling, write file:{path}?arch="
                f"{fit.spec.name}; if it is torchvision's own, timm:resnet18?checkpoint={path}.")
    return ""


def _few(keys: list[str], count: int = 3) -> str:
    if not keys:
        return ""
    return f" ({', '.join(map(printable, keys[:count]))}{', ...' if len(keys) > count else ''})"
