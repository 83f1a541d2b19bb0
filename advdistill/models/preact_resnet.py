"""ResNet-18 with batch-norm and activation before each convolution."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv1x1, conv3x3, global_pool, stage


class PreActBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Sequential(conv1x1(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class PreActResNet18(Classifier):
    """Pre-activation ResNet-18 with the names of `kuangliu/pytorch-cifar`, and like it without batch-norm and
    ReLU after the last block; `last_norm=True` adds them, as in Rice et al., ICML 2020.

    Reference: He et al., Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027.
    """

    def __init__(self, spec: ModelSpec, last_norm: bool = False):
        super().__init__(spec)
        self.conv1 = conv3x3(spec.in_channels, 64)
        self.layer1 = stage(PreActBlock, 64, 64, 2, stride=1)
        self.layer2 = stage(PreActBlock, 64, 128, 2, stride=2)
        self.layer3 = stage(PreActBlock, 128, 256, 2, stride=2)
        self.layer4 = stage(PreActBlock, 256, 512, 2, stride=2)
        self.bn = nn.BatchNorm2d(512) if last_norm else None
        self.linear = nn.Linear(512, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(global_pool(out if self.bn is None else F.relu(self.bn(out))))
