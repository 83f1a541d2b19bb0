"""Augmentation of a batch on its device: what is drawn for an image is a function of (seed, epoch, image) alone.

Draws are made on the CPU, so they are the same for every device, and a resumed run and any number of processes see the
same images. What the kinds do is in `policies.py`, their arithmetic in `operations.py`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .._internal.rng import uniforms
from .crops import KINDS, Augmentation
from .policies import POLICIES, Draws, cutout

__all__ = ["Augment", "Augmenter", "Kind"]

Kind = Literal[
    "none", "shift", "crop_flip", "random_resized_crop", "crop_shift", "idbh", "idbh_strong", "idbh_svhn",
    "rand_augment", "trivial_augment",
]  # fmt: skip

@dataclass(frozen=True)
class Augment:
    """How images and labels are augmented.

    Attributes:
        kind: see `recipe.Data.augment`.
        flip: whether half of the images are mirrored, by the kinds that do so.
        cutout: side in pixels of a black square in each image; 0 for none.
        mixup, cutmix: parameter of the Beta distribution of the shares; 0 for none. With both, each batch has one.
    """

    kind: Kind = "none"
    flip: bool = True
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether labels become distributions."""
        return bool(self.mixup or self.cutmix)


class Augmenter:
    """One epoch's augmentation, but for the mixing of images.

    Args:
        n: images of the split. Those at places from there on are others, such as generated ones.
    """

    def __init__(self, augment: Augment, n: int, seed: int, epoch: int):
        if augment.kind not in get_args(Kind):
            raise ValueError(f"Unknown augmentation {augment.kind!r}. Known: {', '.join(get_args(Kind))}.")
        self.augment, self.n, self.seed, self.epoch = augment, n, seed, epoch
        self.table = Augmentation.draw(augment.kind, n, seed, epoch) if augment.kind in KINDS else None

    def __call__(self, images: Tensor, places: Tensor) -> Tensor:
        """Augment `images`, uint8 or floats `[B, C, H, W]`, whose places are `places`, `[B]` on the CPU."""
        if self.table is not None:
            x = _to_float(self._cropped(self.table, images, places))
        else:
            policy, kind = POLICIES[self.augment.kind], self.augment.kind
            x = policy(_to_float(images), self._draws(places), kind, self.augment.flip)
        if self.augment.cutout:
            x = cutout(x, self._draws(places, "cutout"), self.augment.cutout)
        return x

    def _draws(self, places: Tensor, *key: str) -> Draws:
        return Draws(uniforms(self.seed, "augment", self.epoch, *key, places=places, count=Draws.MOST))

    def _cropped(self, table: Augmentation, images: Tensor, places: Tensor) -> Tensor:
        if table.pad == 0:
            return images
        corners, flips = table.corners[places.clamp(max=self.n - 1)], table.flips[places.clamp(max=self.n - 1)]
        if (others := places >= self.n).any():
            draws = self._draws(places)
            corners[others] = draws.integers(2 * table.pad + 1, 2)[others]
            flips[others] = draws.chance(0.5 if KINDS[self.augment.kind][1] else 0)[others]
        if not self.augment.flip:
            flips = torch.zeros_like(flips)
        made = Augmentation(corners.to(images.device), flips.to(images.device), table.pad)
        return made(images, torch.arange(len(images), device=images.device))


def _to_float(images: Tensor) -> Tensor:
    return images.float().div_(255) if images.dtype == torch.uint8 else images.clone()
