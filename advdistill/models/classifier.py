"""The base of all models: their description in five values, a network that normalises its input, shared layers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_MEAN = 16  # a larger mean is in units of pixels 0..255, where CIFAR's and ImageNet's means are about 120


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a model again, besides its weights.

    Args:
        name: the architecture with its integers, as in `create`.
        num_classes: number of classes K.
        in_channels: number of image channels C.
        mean, std: one value per channel, in units of pixels in [0, 1]; `None` is the identity.

    Raises:
        ValueError: `mean` or `std` does not fit `in_channels`, or a `std` is not positive.

    >>> ModelSpec("convnet-2", num_classes=3, in_channels=1, mean=[0.5]).mean
    (0.5,)
    """

    name: str
    num_classes: int = 10
    in_channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("mean", "std"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, self._per_channel(field))
        if self.std and min(self.std) <= 0:
            raise ValueError(f"Every std must be positive, not {min(self.std)}; None is no scaling.")
        for field, values in (("mean", self.mean or ()), ("std", self.std or ())):
            if wrong := [v for v in values if not isfinite(v) or (field == "mean" and v > LARGEST_MEAN)]:
                what = f"{field} must be in units of pixels in [0, 1], got {wrong[0]:g}"
                raise ValueError(f"{what}; divide it by 255 if it is for pixels 0..255.")

    def _per_channel(self, field: str) -> tuple[float, ...]:
        values = tuple(float(value) for value in getattr(self, field))
        if len(values) != self.in_channels:
            raise ValueError(f"{field} has {len(values)} value(s) but {self.name!r} has {self.in_channels} "
                             "input channel(s); give one per channel.")
        return values


class Classifier(nn.Module):
    """A network from images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; `spec` describes it.

    A subclass defines `network`. `mean` and `std` are buffers outside the state dict, so that published
    weights load unchanged; for the identity they are None and cost nothing.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        identity = spec.mean is None and spec.std is None
        for field, neutral in (("mean", 0.0), ("std", 1.0)):
            values = getattr(spec, field) or (neutral,) * spec.in_channels
            buffer = None if identity else torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(field, buffer, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x if self.mean is None or self.std is None else (x - self.mean) / self.std)

    def network(self, x: Tensor) -> Tensor:
        """Compute logits `[B, K]` from normalised images `[B, C, H, W]`."""
        raise NotImplementedError


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def conv3x3_same(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution for `run_same`, which pads the images if the convolution itself does not (stride 2)."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0, bias=False)


def run_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve with the padding that TensorFlow calls SAME: at stride 2 an even side gets one pixel, at its end."""
    height, width = x.shape[2:]
    return convolution(x if convolution.stride == (1, 1) else F.pad(x, (width % 2, 1, height % 2, 1)))


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a 1x1 convolution and batch-norm if a block changes the shape, else an empty module, the identity."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


def stage(block: Callable[[int, int, int], nn.Module], inputs: int, outputs: int, blocks: int,
          stride: int) -> nn.Sequential:
    """`blocks` blocks in a row; the first changes width and resolution."""
    first = block(inputs, outputs, stride)
    return nn.Sequential(first, *(block(outputs, outputs, 1) for _ in range(blocks - 1)))


def global_pool(x: Tensor) -> Tensor:
    """Average over space, `[B, C, H, W]` to `[B, C]`."""
    # Not x.mean((2, 3)): published networks pool with avg_pool2d, which rounds differently.
    return F.avg_pool2d(x, x.shape[2:]).flatten(1)


def grid_pool(x: Tensor, side: int) -> Tensor:
    """Average over the cells of a side x side grid, `[B, C, H, W]` to `[B, C side^2]`; side 1 equals `global_pool`."""
    height, width = x.shape[2:]
    if height % side or width % side:
        return F.adaptive_avg_pool2d(x, side).flatten(1)
    return F.avg_pool2d(x, (height // side, width // side)).flatten(1)


def init_he(model: nn.Module) -> None:
    """Initialise every convolution by fan-out, as in He et al., Delving Deep into Rectifiers, ICCV 2015."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
