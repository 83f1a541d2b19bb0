"""DeepMind's pre-activation ResNet-18."""

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import Classifier, ModelSpec
from .layers import conv3x3, conv3x3_same, global_pool, run_same, stage


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
