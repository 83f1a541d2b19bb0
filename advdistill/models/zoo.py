"""The registry of models: to add one, write its module and an entry in `ZOO`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F

from .._internal.messages import unknown
from .classifier import Classifier, ModelSpec
from .external import PREFIX, TimmStudent
from .resnet import CifarResNet, DMPreActResNet18, PaddedResNet, PreActResNet18, ResNet, depth_of_padded
from .small import ConvNet, MobileNetV2, convnet_width
from .wide_resnet import DMWideResNet, WideResNet, depth_and_width


@dataclass(frozen=True)
class Entry:
    """A model: `build(spec, *integers)` creates it, `infer` reads the integers off the shapes of a state dict.

    `normalises`: checkpoints from elsewhere expect normalised images but do not hold mean and std.
    """

    about: str
    build: Callable[..., Classifier]
    defaults: tuple[int, ...] = ()
    infer: Callable[[dict[str, tuple[int, ...]]], tuple[int, ...]] = lambda shapes: ()
    normalises: bool = False


ZOO = {
    "resnet18": Entry("ResNet-18 with CIFAR stem, 64 to 512 channels", partial(ResNet, blocks=(2, 2, 2, 2))),
    "resnet34": Entry("ResNet-34 with CIFAR stem, 64 to 512 channels", partial(ResNet, blocks=(3, 4, 6, 3))),
    "resnet8": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=8)),
    "resnet20": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=20)),
    "resnet32": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=32)),
    "resnet44": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=44)),
    "resnet56": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=56)),
    "resnet110": Entry("He's CIFAR ResNet, 16 to 64 channels", partial(CifarResNet, depth=110)),
    "resnet_a": Entry("He's CIFAR ResNet of any depth, shortcuts without parameters",
                      PaddedResNet, (56,), depth_of_padded),
    "preact_resnet18": Entry("Pre-activation ResNet-18 with CIFAR stem, as kuangliu's", PreActResNet18),
    "preact_resnet18_raw": Entry("The same with shortcuts from a block's raw input, as PeerAiD's",
                                 partial(PreActResNet18, raw_shortcut=True)),
    "preact_resnet18_bn": Entry("Pre-activation ResNet-18 with batch-norm and ReLU before the head",
                                partial(PreActResNet18, last_norm=True)),
    "preact_resnet18_2x2": Entry("Pre-activation ResNet-18 whose head reads 2 x 2 averages, as DGAD's",
                                 partial(PreActResNet18, grid=2)),
    "dm_preact_resnet18": Entry("DeepMind's pre-activation ResNet-18, SiLU", DMPreActResNet18, normalises=True),
    "wide_resnet": Entry("Wide ResNet of any depth and width",
                         WideResNet, (34, 10), depth_and_width),
    "wide_resnet_trades": Entry("Wide ResNet with the unused block of TRADES checkpoints",
                                partial(WideResNet, sub_block=True), (34, 10), depth_and_width),
    "dm_wide_resnet": Entry("DeepMind's wide ResNet of any depth and width, SiLU",
                            DMWideResNet, (28, 10), depth_and_width, normalises=True),
    "dm_wide_resnet_relu": Entry("DeepMind's wide ResNet with ReLU",
                                 partial(DMWideResNet, activation=F.relu), (28, 10), depth_and_width,
                                 normalises=True),
    "mobilenet_v2": Entry("MobileNetV2, CIFAR variant", MobileNetV2),
    "convnet": Entry("Three convolutions for tiny images, any width", ConvNet, (16,), convnet_width),
}


def create(name: str, num_classes: int = 10, in_channels: int = 3,
           mean: Iterable[float] | None = None, std: Iterable[float] | None = None) -> Classifier:
    """Build a freshly initialised model of the zoo.

    Args:
        name: one of `names()`, followed by dashes and integers if the model has sizes: `"resnet18"`,
            `"wide_resnet-28-10"`, `"convnet-32"`. Omitted integers have defaults; `model.spec.name` has them all.
            Or `"timm:NAME"`, a network of timm.
        num_classes: number of classes K.
        in_channels: number of image channels C.
        mean, std: the normalisation (x - mean) / std, one value per channel in units of pixels in [0, 1];
            `None` is the identity.

    Returns:
        The model: images `[B, C, H, W]` in [0, 1], of 8 x 8 pixels or more, to logits `[B, K]`.

    Raises:
        ValueError: the name is unknown, an integer is invalid, or `mean` or `std` does not fit the channels.

    >>> create("convnet", num_classes=5).spec.name
    'convnet-16'
    """
    sizes = num_classes, in_channels, None if mean is None else tuple(mean), None if std is None else tuple(std)
    if name.startswith(PREFIX):
        return TimmStudent(ModelSpec(name, *sizes))
    family, integers = _family_and_sizes(name)
    spec = ModelSpec("-".join([family, *map(str, integers)]), *sizes)
    return ZOO[family].build(spec, *integers)


def names() -> list[str]:
    """Return every name that `create` supports, without integers.

    Returns:
        The names, in the order of the documentation.

    >>> "resnet18" in names()
    True
    """
    return list(ZOO)


def normalises(name: str) -> bool:
    """Whether checkpoints of this network, unless saved by us, expect normalised images but lack mean and std."""
    return not name.startswith(PREFIX) and ZOO[name.split("-")[0]].normalises


def describe() -> list[dict[str, Any]]:
    """Describe the models of the zoo.

    Returns:
        For each model `name`, `parameters` (their number for 10 classes and 3 channels), `about` and `example`.

    >>> describe()[-1]["name"], describe()[-1]["parameters"]
    ('convnet', 24346)
    """
    rows = []
    for family, entry in ZOO.items():
        example = "-".join([family, *map(str, entry.defaults)])
        rows.append(
            {"name": family, "parameters": count_parameters(family), "about": entry.about, "example": example}
        )
    return rows


@cache
def count_parameters(name: str, num_classes: int = 10) -> int:
    """Count the parameters of a network for images of 3 channels, without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create(name, num_classes).parameters())


def _family_and_sizes(name: str) -> tuple[str, tuple[int, ...]]:
    family, *words = name.split("-")
    if family not in ZOO:
        raise unknown("model", name, ZOO)
    defaults = ZOO[family].defaults
    example = "-".join([family, *map(str, defaults)])
    if len(words) > len(defaults):
        raise ValueError(f"{name!r} has {len(words)} integer(s) after the name, {family!r} takes at most "
                         f"{len(defaults)}; write {example!r}.")
    for word in words:
        if not word.isdecimal() or len(word) > 4 or int(word) == 0:
            raise ValueError(f"{word!r} in {name!r} must be a positive integer, 9999 at most; write for example "
                             f"{example!r}.")
    return family, (*map(int, words), *defaults[len(words):])
