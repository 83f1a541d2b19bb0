"""The pieces that the residual networks share."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def conv3x3_same(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """For `run_same`, which pads where the convolution does not."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0, bias=False)


def run_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve with the padding that TensorFlow calls SAME: at stride 2 an even side gets one pixel, at its end."""
    height, width = x.shape[2:]
    return convolution(x if convolution.stride == (1, 1) else F.pad(x, (width % 2, 1, height % 2, 1)))


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A 1x1 convolution and batch-norm where a block changes the shape; elsewhere empty, the identity."""
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


def init_he(model: nn.Module) -> None:
    """Draw every convolution by fan-out, as He et al., Delving Deep into Rectifiers, ICCV 2015."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
