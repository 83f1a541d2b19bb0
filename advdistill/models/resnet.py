"""ResNet-18 and -34 with the CIFAR stem."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv3x3, global_pool, projection, stage


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(Classifier):
    """Four stages of 64-128-256-512 channels behind a 3x3 stem without pooling; `blocks` per stage.

    The parameter names are those of `kuangliu/pytorch-cifar`, as in nearly all robust CIFAR checkpoints.

    Reference: He et al., Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385.
    """

    def __init__(self, spec: ModelSpec, blocks: tuple[int, int, int, int]):
        super().__init__(spec)
        self.conv1 = conv3x3(spec.in_channels, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(BasicBlock, 64, 64, blocks[0], stride=1)
        self.layer2 = stage(BasicBlock, 64, 128, blocks[1], stride=2)
        self.layer3 = stage(BasicBlock, 128, 256, blocks[2], stride=2)
        self.layer4 = stage(BasicBlock, 256, 512, blocks[3], stride=2)
        self.linear = nn.Linear(512, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(global_pool(out))
