"""DeepMind's residual networks, most of the strongest robust teachers: wide ones, and the pre-activation ResNet-18."""

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv1x1, conv3x3, conv3x3_same, global_pool, run_same, stage
from .wide_resnet import blocks_of

Activation = Callable[[Tensor], Tensor]


class DMWideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation):
        super().__init__()
        self.activation = activation
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.conv_0 = conv3x3_same(inputs, outputs, stride)
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.conv_1 = conv3x3(outputs, outputs)
        self.shortcut = None if inputs == outputs else conv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.batchnorm_0(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = run_same(self.conv_0, out)
        out = self.conv_1(self.activation(self.batchnorm_1(out)))
        return shortcut + out


class DMWideResNet(Classifier):
    """WRN-depth-width with SiLU (Swish), TensorFlow's padding, and the parameter names of DeepMind's release.

    Its checkpoints expect normalised images and do not hold the statistics.

    Reference: Gowal et al., Uncovering the Limits of Adversarial Training against Norm-Bounded Adversarial Examples.
    arXiv:2010.03593.
    """

    def __init__(self, spec: ModelSpec, depth: int, width: int, activation: Activation = F.silu):
        super().__init__(spec)
        block, blocks = partial(DMWideBlock, activation=activation), blocks_of(spec.name, depth)
        widths = (16, 16 * width, 32 * width, 64 * width)
        groups = (stage(block, *ends, blocks, stride) for ends, stride in zip(pairwise(widths), (1, 2, 2), strict=True))
        self.activation = activation
        self.init_conv = conv3x3(spec.in_channels, 16)
        self.layer = nn.Sequential(*(nn.Sequential(OrderedDict(block=group)) for group in groups))
        self.batchnorm = nn.BatchNorm2d(64 * width)
        self.logits = nn.Linear(64 * width, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = self.layer(self.init_conv(x))
        return self.logits(global_pool(self.activation(self.batchnorm(out))))


def depth_and_width(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Read `(depth, width)` off a state dict's shapes; `()` if they are not such a network's."""
    first = [key for key in shapes if re.fullmatch(r"layer\.0\.block\.\d+\.conv_0\.weight", key)]
    if not first:
        return ()
    return 6 * len(first) + 4, max(1, shapes[first[0]][0] // 16)


class DMPreActBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.conv_2d_1 = conv3x3_same(inputs, outputs, stride)
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.conv_2d_2 = conv3x3(outputs, outputs)
        self.shortcut = None if stride == 1 and inputs == outputs else conv3x3_same(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else run_same(self.shortcut, x)
        out = run_same(self.conv_2d_1, F.silu(self.batchnorm_0(x)))
        out = self.conv_2d_2(F.silu(self.batchnorm_1(out)))
        return shortcut + out


class DMPreActResNet18(Classifier):
    """Pre-activation ResNet-18 with SiLU, TensorFlow's padding, 3x3 shortcuts before batch-norm, and the parameter
    names of DeepMind's release. Its checkpoints expect normalised images and do not hold the statistics.

    Reference: Rebuffi et al., Fixing Data Augmentation to Improve Adversarial Robustness. arXiv:2103.01946.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.conv_2d = conv3x3(spec.in_channels, 64)
        self.layer_0 = stage(DMPreActBlock, 64, 64, 2, stride=1)
        self.layer_1 = stage(DMPreActBlock, 64, 128, 2, stride=2)
        self.layer_2 = stage(DMPreActBlock, 128, 256, 2, stride=2)
        self.layer_3 = stage(DMPreActBlock, 256, 512, 2, stride=2)
        self.batchnorm = nn.BatchNorm2d(512)
        self.logits = nn.Linear(512, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = self.layer_3(self.layer_2(self.layer_1(self.layer_0(self.conv_2d(x)))))
        return self.logits(global_pool(F.silu(self.batchnorm(out))))
