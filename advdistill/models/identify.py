"""Which network a state dict belongs to, told from its keys and shapes alone."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .._internal.reading import printable
from .classifier import ModelSpec
from .zoo import ZOO, create

Shapes = dict[str, tuple[int, ...]]
STEMS = ("conv1.weight", "init_conv.weight", "conv_2d.weight")


@dataclass(frozen=True)
class Fit:
    """How a state dict compares with the network `spec`; its text says what does not fit."""

    spec: ModelSpec
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        return ", ".join([
            f"{len(self.missing)} keys missing{_few(self.missing)}",
            f"{len(self.unexpected)} unexpected{_few(self.unexpected)}",
            f"{len(self.reshaped)} of another shape{_few(self.reshaped)}",
        ])


def compare(name: str, shapes: Shapes, sizes: tuple[int, int] | None = None) -> Fit:
    """Hold `shapes` against the architecture `name` of so many classes and channels, unless given those they show."""
    classes, channels = sizes or (_num_classes(shapes), _in_channels(shapes))
    try:
        with torch.device("meta"):
            model = create(name, classes, channels)
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError):
        raise ValueError(f"There is no {name!r} of {classes} classes and {channels} channels.") from None
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    # BatchNorm's counter came with PyTorch 0.4.1 and is filled in when an older file lacks it.
    missing = [key for key in wanted if key not in shapes and not key.endswith("num_batches_tracked")]
    reshaped = [f"{key} is {list(shapes[key])}, not {list(wanted[key])}"
                for key in wanted if key in shapes and shapes[key] != wanted[key]]
    return Fit(model.spec, missing, [key for key in shapes if key not in wanted], reshaped)


def nearest(shapes: Shapes) -> Fit:
    """The architecture of the zoo that fits best, sizes such as depth and width read off the shapes."""
    return min((compare(name, shapes) for name in _candidates(shapes)), key=lambda fit: fit.misfits)


def _candidates(shapes: Shapes) -> Iterable[str]:
    for family, entry in ZOO.items():
        yield "-".join([family, *map(str, entry.infer(shapes))])


def _num_classes(shapes: Shapes) -> int:
    """Rows of the only matrix, the head, in any network of the zoo."""
    return next((shape[0] for shape in shapes.values() if len(shape) == 2), 10)


def _in_channels(shapes: Shapes) -> int:
    stem = next((shapes[key] for key in STEMS if key in shapes), ())
    return stem[1] if len(stem) == 4 else 3


def _few(keys: list[str], count: int = 3) -> str:
    if not keys:
        return ""
    return f" ({', '.join(map(printable, keys[:count]))}{', ...' if len(keys) > count else ''})"
