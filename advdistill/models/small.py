"""Small students: MobileNetV2 for 32 x 32 images, and a network of three convolutions for tiny ones."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec, conv1x1, conv3x3, global_pool, init_he, projection

# (expansion, channels, blocks, stride), as in the paper's table 2, but with stride 1 in the second row.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        hidden = expansion * inputs
        self.conv1 = conv1x1(inputs, hidden)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = conv1x1(hidden, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride) if stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out if self.shortcut is None else out + self.shortcut(x)


class MobileNetV2(Classifier):
    """The MobileNetV2 of `kuangliu/pytorch-cifar`, which the distillation papers use, with its parameter names.

    It differs from the paper in the strides of the stem and the second stage (1), in ReLU instead of ReLU6, and in a
    1x1 convolution and batch-norm on the shortcut if a block of stride 1 changes the number of channels.

    Reference: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks. CVPR 2018,
    arXiv:1801.04381.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.conv1 = conv3x3(spec.in_channels, 32)
        self.bn1 = nn.BatchNorm2d(32)
        self.layers = _inverted_residuals(inputs=32)
        self.conv2 = conv1x1(320, 1280)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(self.layers(out))))
        return self.linear(global_pool(out))


def _inverted_residuals(inputs: int) -> nn.Sequential:
    blocks = nn.Sequential()
    for expansion, outputs, count, stride in STAGES:
        for block_stride in (stride, *[1] * (count - 1)):
            blocks.append(InvertedResidual(inputs, outputs, expansion, block_stride))
            inputs = outputs
    return blocks


class ConvNet(Classifier):
    """Three 3x3 convolutions of `width`, 2 and 4 times `width` channels, the last two of stride 2, each with
    batch-norm and ReLU; then global average pooling and a linear head. Meant for 8 x 8 to 32 x 32 images."""

    def __init__(self, spec: ModelSpec, width: int):
        super().__init__(spec)
        self.conv1 = conv3x3(spec.in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, 2 * width, stride=2)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = conv3x3(2 * width, 4 * width, stride=2)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.linear = nn.Linear(4 * width, spec.num_classes)
        init_he(self)

    def network(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = F.relu(self.bn3(self.conv3(out)))
        return self.linear(global_pool(out))


def convnet_width(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Read `(width,)` off a state dict's shapes; `()` if it has no stem."""
    return shapes["conv1.weight"][:1] if "conv1.weight" in shapes else ()
