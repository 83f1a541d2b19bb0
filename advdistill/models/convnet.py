"""A small convolutional network for tiny images."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv3x3, global_pool, init_he


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


def width(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Read `(width,)` off a state dict's shapes; `()` if it has no stem."""
    return shapes["conv1.weight"][:1] if "conv1.weight" in shapes else ()
