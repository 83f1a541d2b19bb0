"""The residual networks for CIFAR: ResNet-18 and -34, He's networks of three stages, pre-activation ResNet-18."""

import re
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .classifier import (
    Classifier,
    ModelSpec,
    conv1x1,
    conv3x3,
    conv3x3_same,
    global_pool,
    grid_pool,
    init_he,
    projection,
    run_same,
    stage,
)


class BasicBlock(nn.Module):
    shortcut_name = "shortcut"

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.add_module(self.shortcut_name, projection(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + getattr(self, self.shortcut_name)(x))


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


class DownsampleBlock(BasicBlock):
    """A `BasicBlock` whose shortcut has another name in the state dict."""

    shortcut_name = "downsample"


class CifarResNet(Classifier):
    """Three stages of 16-32-64 channels and n blocks each, depth 6n+2.

    The paper's shortcuts have no parameters (option A); here they are a 1x1 convolution and batch-norm called
    `downsample`, and the head is `fc`, as in `chenyaofo/pytorch-cifar-models`, whose published weights load
    unchanged. Those weights expect mean (0.4914, 0.4822, 0.4465) and std (0.2470, 0.2435, 0.2616) on CIFAR-10.

    Reference: He et al., Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385, sec. 4.2.
    """

    block: type[BasicBlock] = DownsampleBlock
    head = "fc"

    def __init__(self, spec: ModelSpec, depth: int):
        super().__init__(spec)
        blocks = (depth - 2) // 6
        self.conv1 = conv3x3(spec.in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(self.block, 16, 16, blocks, stride=1)
        self.layer2 = stage(self.block, 16, 32, blocks, stride=2)
        self.layer3 = stage(self.block, 32, 64, blocks, stride=2)
        self.add_module(self.head, nn.Linear(64, spec.num_classes))
        init_he(self)

    def network(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.get_submodule(self.head)(global_pool(out))
        return logits


class PaddedBlock(BasicBlock):
    """A `BasicBlock` whose shortcut has no parameters (option A): every second pixel, channels padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(inputs, outputs, stride)
        self.stride, self.more = stride, (outputs - inputs) // 2
        self.shortcut = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.relu(self.bn2(self.conv2(out)) + F.pad(kept, (0, 0, 0, 0, self.more, self.more)))


class PaddedResNet(CifarResNet):
    """He's ResNet of depth 6n+2 as in the paper, with shortcuts of option A, and a head called `linear`, as in
    `akamaster/pytorch_resnet_cifar10` and in the ResNet-56 that is Fair-MTARD's clean teacher.

    Reference: He et al., Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385, sec. 4.2.
    """

    block = PaddedBlock
    head = "linear"

    def __init__(self, spec: ModelSpec, depth: int):
        blocks, rest = divmod(depth - 2, 6)
        if rest or not blocks:
            near = max(8, 6 * round((depth - 2) / 6) + 2)
            raise ValueError(f"{spec.name!r}: the depth must be 6n+2 (8, 14, 20, 32, 44, 56, 110, ...), not {depth}; "
                             f"write 'resnet_a-{near}'.")
        super().__init__(spec, depth)


def depth_of_padded(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Read `(depth,)` off a state dict's shapes; `()` if it has no first stage."""
    blocks = sum(re.fullmatch(r"layer1\.\d+\.conv1\.weight", key) is not None for key in shapes)
    return (6 * blocks + 2,) if blocks else ()


class PreActBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, raw_shortcut: bool = False):
        super().__init__()
        self.raw_shortcut = raw_shortcut
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Sequential(conv1x1(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(x if self.raw_shortcut else out)
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class PreActResNet18(Classifier):
    """Pre-activation ResNet-18 as in `kuangliu/pytorch-cifar`: its parameter names, and no batch-norm and ReLU after
    the last block.

    Args:
        last_norm: add that batch-norm and ReLU, as in Rice et al., ICML 2020, and in IGDM's and SAAD's students on
            Tiny-ImageNet.
        raw_shortcut: the 1x1 shortcuts read a block's raw input, as in PeerAiD and Wong et al., ICLR 2020, and not
            the output of its first batch-norm and ReLU. Names and shapes are the same.
        grid: the head reads grid x grid averages of each channel: 2 in DGAD, which pools Tiny-ImageNet's 8 x 8 feature
            maps by 4.

    Reference: He et al., Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027.
    """

    def __init__(self, spec: ModelSpec, last_norm: bool = False, raw_shortcut: bool = False, grid: int = 1):
        super().__init__(spec)
        block, self.grid = partial(PreActBlock, raw_shortcut=raw_shortcut), grid
        self.conv1 = conv3x3(spec.in_channels, 64)
        self.layer1 = stage(block, 64, 64, 2, stride=1)
        self.layer2 = stage(block, 64, 128, 2, stride=2)
        self.layer3 = stage(block, 128, 256, 2, stride=2)
        self.layer4 = stage(block, 256, 512, 2, stride=2)
        self.bn = nn.BatchNorm2d(512) if last_norm else None
        self.linear = nn.Linear(512 * grid**2, spec.num_classes)

    def network(self, x: Tensor) -> Tensor:
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(grid_pool(out if self.bn is None else F.relu(self.bn(out)), self.grid))


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
