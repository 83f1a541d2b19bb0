"""Random crops and flips of every image of a split, drawn at once for an epoch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._internal.rng import generator

__all__ = ["KINDS", "Augmentation", "crop"]

KINDS = {"none": (0, False), "shift": (1, False), "crop_flip": (4, True)}


@dataclass(frozen=True)
class Augmentation:
    """One epoch's random crops and flips of every image of a split.

    Attributes:
        corners: row and column where each crop begins in the padded image, `[N, 2]`.
        flips: which images are mirrored, `[N]`.
        pad: zero pixels added on each side of the image.
    """

    corners: Tensor
    flips: Tensor
    pad: int

    @classmethod
    def draw(cls, kind: str, n: int, seed: int, epoch: int, device: torch.device | str = "cpu") -> "Augmentation":
        """Draw for a kind: `none`; `shift` by up to one pixel; `crop_flip`, standard on CIFAR: pad by 4, crop, flip."""
        pad, flip = KINDS[kind]
        rng = generator(seed, "augment", epoch)
        corners = torch.randint(2 * pad + 1, (n, 2), generator=rng)
        flips = torch.rand(n, generator=rng) < (0.5 if flip else 0)
        return cls(corners.to(device), flips.to(device), pad)

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """Augment `images`, `[B, C, H, W]`, whose indices in the split are `index`, `[B]`."""
        if self.pad == 0:
            return images
        cropped = crop(F.pad(images, [self.pad] * 4), self.corners[index], (images.shape[2], images.shape[3]))
        return torch.where(self.flips[index, None, None, None], cropped.flip(3), cropped)


def crop(images: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a window of `size` out of each image, beginning at its own corner (row, column)."""
    rows = corners[:, :1] + torch.arange(size[0], device=images.device)
    columns = corners[:, 1:] + torch.arange(size[1], device=images.device)
    image = torch.arange(len(images), device=images.device)
    return images[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
