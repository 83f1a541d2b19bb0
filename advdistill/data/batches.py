"""Batches on a device: a split in order; and for training in random order, augmented.

Order, crops and flips depend on (seed, epoch, index) alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._internal.rng import generator
from .split import Split
from .streamed import Streamed

__all__ = ["Augmentation", "Batches", "Share", "in_order", "starts", "to_float"]

@dataclass(frozen=True)
class Share:
    """One process's part of a global batch.

    Attributes:
        x: augmented images `[b, C, H, W]` in [0, 1].
        y: labels `[b]`.
        start: the place of the first image in the global batch.
        total: images in the global batch.
        index: places of the images in the split, `[b]`; a loader does not tell them.
    """

    x: Tensor
    y: Tensor
    start: int
    total: int
    index: Tensor | None = None

    def parts(self, number: int) -> list["Share"]:
        """The same images in so many parts of nearly equal size, each with its place in the global batch."""
        if number == 1:
            return [self]
        found, begin = [], 0
        for x in self.x.tensor_split(number):
            part = slice(begin, begin := begin + len(x))
            index = None if self.index is None else self.index[part]
            found += [Share(x, self.y[part], self.start + part.start, self.total, index)] if len(x) else []
        return found


class Batches:
    """A split in batches, on a device. The last, smaller batch is kept, unless it is too small for every process.

    Args:
        batch_size: images per step over all processes.
        rank, world: this process and how many there are.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        augment: str = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ):
        self.images = split.images if isinstance(split.images, Streamed) else split.images.to(device)
        self.labels = split.labels.to(device)
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self.device, self.rank, self.world = device, rank, world

    def __len__(self) -> int:
        whole, rest = divmod(len(self.labels), self.batch_size)
        return whole + (rest >= 2 * self.world)  # batch-norm needs two images

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """The batches of an epoch, without the first `skip`."""
        n = len(self.labels)
        order = torch.randperm(n, generator=generator(self.seed, "order", epoch)).to(self.device)
        augmentation = Augmentation.draw(self.augment, n, self.seed, epoch, self.device)
        steps = [index.tensor_split(self.world) for index in order.split(self.batch_size)[skip : len(self)]]
        read = _read(self.images, [parts[self.rank] for parts in steps])
        for parts, images in zip(steps, read, strict=True):
            mine, start = parts[self.rank], sum(map(len, parts[: self.rank]))
            x = to_float(augmentation(images.to(self.device), mine))
            yield Share(x, self.labels[mine], start, sum(map(len, parts)), mine)


def starts(split: Split, batch_size: int, processes: tuple[int, int]) -> range:
    """The places of the first images of one process's batches; `processes`: its number and how many there are."""
    rank, world = processes
    return range(0, len(split), batch_size)[rank::world]


def in_order(
    split: Split, batch_size: int, device: torch.device | str, starts: Iterable[int] | None = None
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The place of each batch's first image, its images `[b, C, H, W]` in [0, 1] and its labels `[b]`.

    Args:
        starts: only the batches that begin there; `None` for the whole split.
    """
    starts = range(0, len(split), batch_size) if starts is None else list(starts)
    parts = [slice(start, start + batch_size) for start in starts]
    for start, part, images in zip(starts, parts, _read(split.images, parts), strict=True):
        yield start, to_float(images.to(device)), split.labels[part].to(device)


def _read(images: Tensor | Streamed, parts: Sequence[slice | Tensor]) -> Iterator[Tensor]:
    return images.batches(parts) if isinstance(images, Streamed) else (images[part] for part in parts)


def to_float(images: Tensor) -> Tensor:
    """uint8 to floats in [0, 1]; a copy of what is in floats already."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.clone()


KINDS = {"none": (0, False), "shift": (1, False), "crop_flip": (4, True)}


@dataclass(frozen=True)
class Augmentation:
    """One epoch's random crops and flips of every image of a split.

    Attributes:
        corners: where each crop begins in the padded image, `[N, 2]`.
        flips: which images are mirrored, `[N]`.
        pad: zero pixels around the image.
    """

    corners: Tensor
    flips: Tensor
    pad: int

    @classmethod
    def draw(cls, kind: str, n: int, seed: int, epoch: int, device: torch.device | str = "cpu") -> "Augmentation":
        """`kind`: `none`; `shift` by up to one pixel; `crop_flip`, the CIFAR standard: pad by 4, crop, flip."""
        pad, flip = KINDS[kind]
        rng = generator(seed, "augment", epoch)
        corners = torch.randint(2 * pad + 1, (n, 2), generator=rng)
        flips = torch.rand(n, generator=rng) < (0.5 if flip else 0)
        return cls(corners.to(device), flips.to(device), pad)

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """Augment `images`, `[B, C, H, W]`, whose places in the split are `index`, `[B]`."""
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
