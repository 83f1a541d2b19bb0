"""Wide residual networks of any depth and width, the usual large robust teachers: Zagoruyko's and DeepMind's."""

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec, conv1x1, conv3x3, conv3x3_same, global_pool, init_he, run_same, stage

Activation = Callable[[Tensor], Tensor]


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut = None if inputs == outputs else conv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        return shortcut + out


class WideResNet(Classifier):
    """WRN-depth-width: three groups of n = (depth - 4) / 6 blocks and 16, 32, 64 times `width` channels.

    Names and initialisation are those of `yaodongyu/TRADES`. Its published weights also hold a second first
    group that the network never calls; `sub_block=True` adds this group, so that the weights load strictly. The
    group gets no gradient, so DDP needs `find_unused_parameters`.

    Reference: Zagoruyko and Komodakis, Wide Residual Networks. BMVC 2016, arXiv:1605.07146.
    """

    def __init__(self, spec: ModelSpec, depth: int, width: int, sub_block: bool = False):
        super().__init__(spec)
        blocks = _blocks_of(spec.name, depth)
        self.conv1 = conv3x3(spec.in_channels, 16)
        self.block1 = _group(16, 16 * width, blocks, stride=1)
        if sub_block:
            self.sub_block1 = _group(16, 16 * width, blocks, stride=1)
        self.block2 = _group(16 * width, 32 * width, blocks, stride=2)
        self.block3 = _group(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, spec.num_classes)
        init_he(self)
        nn.init.zeros_(self.fc.bias)

    def network(self, x: Tensor) -> Tensor:
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(global_pool(F.relu(self.bn1(out))))


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
        block, blocks = partial(DMWideBlock, activation=activation), _blocks_of(spec.name, depth)
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
    """Read `(depth, width)` off a state dict's shapes; `()` if it is of neither kind of wide ResNet."""
    pattern = r"block1\.layer\.\d+\.conv1\.weight|layer\.0\.block\.\d+\.conv_0\.weight"
    first_group = [shape for key, shape in shapes.items() if re.fullmatch(pattern, key)]
    return (6 * len(first_group) + 4, max(1, first_group[0][0] // 16)) if first_group else ()


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layer=stage(WideBlock, inputs, outputs, blocks, stride)))


def _blocks_of(name: str, depth: int) -> int:
    """Return the number of blocks in each of the three groups. Raises ValueError unless the depth is 6n+4."""
    blocks, rest = divmod(depth - 4, 6)
    if rest or not blocks:
        near = max(10, 6 * round((depth - 4) / 6) + 4)
        raise ValueError(f"{name!r}: the depth must be 6n+4 (10, 16, 22, 28, 34, ...), not {depth}; "
                         f"write {name.replace(f'-{depth}-', f'-{near}-')!r}.")
    return blocks
