"""Augmentation of a batch on its device; the draws for an image depend only on (seed, epoch, image).

Numbers are drawn on the CPU, so every device, a resumed run and any number of processes produce the same images.
The kinds are implemented in `crops.py` and `policies.py`, their arithmetic in `operations.py`.
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
        flip: whether the kinds that include a flip mirror half of the images.
        cutout: side in pixels of a black square in each image; 0 for none.
        mixup, cutmix: parameter of the Beta distribution of the shares; 0 for none. With both, each batch uses one.
    """

    kind: Kind = "none"
    flip: bool = True
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that labels become distributions."""
        return bool(self.mixup or self.cutmix)


class Augmenter:
    """One epoch's augmentation, without the mixing of images.

    Args:
        n: number of images of the split. Indices from `n` on are those of other images, such as generated ones.
    """

    def __init__(self, augment: Augment, n: int, seed: int, epoch: int):
        if augment.kind not in get_args(Kind):
            raise ValueError(f"Unknown augmentation {augment.kind!r}. Known: {', '.join(get_args(Kind))}.")
        self.augment, self.n, self.seed, self.epoch = augment, n, seed, epoch
        self.table = Augmentation.draw(augment.kind, n, seed, epoch) if augment.kind in KINDS else None

    def __call__(self, images: Tensor, places: Tensor) -> Tensor:
        """Augment `images`, uint8 or floats `[B, C, H, W]`, whose indices are `places`, `[B]` on the CPU."""
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
