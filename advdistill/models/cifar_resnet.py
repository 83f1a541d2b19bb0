"""ResNet-8, -20 and -56: He's CIFAR family."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv3x3, global_pool, init_he, projection, stage


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x))


class CifarResNet(Classifier):
    """Three stages of 16-32-64 channels and n blocks each, depth 6n+2.

    The paper's shortcuts have no parameters (option A); these are a 1x1 convolution and batch-norm,
    `downsample`, and the head is `fc`, as in `chenyaofo/pytorch-cifar-models`, whose published weights load
    unchanged. Those expect mean (0.4914, 0.4822, 0.4465) and std (0.2470, 0.2435, 0.2616) on CIFAR-10.

    Reference: He et al., Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385, sec. 4.2.
    """

    def __init__(self, spec: ModelSpec, depth: int):
        super().__init__(spec)
        blocks = (depth - 2) // 6
        self.conv1 = conv3x3(spec.in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(Block, 16, 16, blocks, stride=1)
        self.layer2 = stage(Block, 16, 32, blocks, stride=2)
        self.layer3 = stage(Block, 32, 64, blocks, stride=2)
        self.fc = nn.Linear(64, spec.num_classes)
        init_he(self)

    def network(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.fc(global_pool(out))
