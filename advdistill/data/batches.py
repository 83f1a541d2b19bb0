"""Batches on a device: a split in order, or for training in random order and augmented.

Order and augmentation depend only on (seed, epoch, index), the mixing of images on (seed, epoch, step).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._internal.rng import generator
from .augment import Augment, Augmenter
from .crops import Augmentation
from .mixing import mixed
from .split import Split
from .streamed import Streamed

__all__ = ["Augmentation", "Batches", "Share", "in_order", "starts", "to_float"]


@dataclass(frozen=True)
class Share:
    """One process's part of a global batch.

    Attributes:
        x: augmented images `[b, C, H, W]` in [0, 1].
        y: labels `[b]`; for a mixed image, the label of the larger share.
        start: the position of the first image in the global batch.
        total: number of images in the global batch.
        index: indices of the images in the split, `[b]`; `None` for a loader.
        targets: distributions over the classes `[b, K]` if images are mixed, else the labels.
    """

    x: Tensor
    y: Tensor
    start: int
    total: int
    index: Tensor | None = None
    targets: Tensor = None  # type: ignore[assignment]  # a Tensor after __post_init__

    def __post_init__(self) -> None:
        if getattr(self, "targets", None) is None:
            object.__setattr__(self, "targets", self.y)

    def parts(self, number: int) -> list["Share"]:
        """Divide the images into `number` parts of nearly equal size, each with its position in the global batch."""
        if number == 1:
            return [self]
        found, begin = [], 0
        for x in self.x.tensor_split(number):
            part = slice(begin, begin := begin + len(x))
            index = None if self.index is None else self.index[part]
            start, targets = self.start + part.start, self.targets[part]
            found += [Share(x, self.y[part], start, self.total, index, targets)] if len(x) else []
        return found


class Batches:
    """A split in batches, on a device. A last batch with fewer than two images per process is dropped.

    Args:
        batch_size: images per step over all processes.
        rank, world: index of this process and number of processes.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        augment: str | Augment = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ):
        self.images = split.images if isinstance(split.images, Streamed) else split.images.to(device)
        self.labels = split.labels.to(device)
        self.augment = augment if isinstance(augment, Augment) else Augment(augment)  # type: ignore[arg-type]  # a Kind
        self.batch_size, self.seed, self.classes = batch_size, seed, split.num_classes
        self.device, self.rank, self.world = device, rank, world

    def __len__(self) -> int:
        whole, rest = divmod(len(self.labels), self.batch_size)
        return whole + (rest >= 2 * self.world)  # batch-norm needs two images

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """Yield the batches of an epoch after the first `skip`."""
        augmenter = Augmenter(self.augment, len(self.labels), self.seed, epoch)
        steps = self._order(epoch)[skip : len(self)]
        shares = [index.tensor_split(self.world) for index in steps]
        needed = steps if self.augment.mixes else [parts[self.rank] for parts in shares]  # mixing needs the whole batch
        for step, images in enumerate(self._read(needed)):
            index, parts = needed[step], shares[step]
            x, y, targets = augmenter(images.to(self.device), index), self._labels(index), None
            start = sum(map(len, parts[: self.rank]))
            if self.augment.mixes:
                x, targets = mixed(x, y, self.classes, self.augment, (self.seed, epoch, skip + step))
                mine = slice(start, start + len(parts[self.rank]))
                x, targets, index = x[mine], targets[mine], index[mine]
                y = targets.argmax(1)
            yield Share(x, y, start, len(steps[step]), index.to(self.device), y if targets is None else targets)

    def augmented(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Augment images of the split, given their indices, as in an epoch but without mixing."""
        return Augmenter(self.augment, len(self.labels), self.seed, epoch)(images, index)

    def _order(self, epoch: int) -> list[Tensor]:
        """Return the indices of the images of each batch of an epoch, on the CPU."""
        order = torch.randperm(len(self.labels), generator=generator(self.seed, "order", epoch))
        return list(order.split(self.batch_size))

    def _read(self, steps: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images `[b, C, H, W]` of each batch of indices."""
        return _read(self.images, steps)

    def _labels(self, index: Tensor) -> Tensor:
        return self.labels[index.to(self.device)]


def starts(split: Split, batch_size: int, processes: tuple[int, int]) -> range:
    """Return the index of the first image of each of a process's batches; `processes`: its rank and their number."""
    rank, world = processes
    return range(0, len(split), batch_size)[rank::world]


def in_order(
    split: Split, batch_size: int, device: torch.device | str, starts: Iterable[int] | None = None
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the index of each batch's first image, the images `[b, C, H, W]` in [0, 1] and the labels `[b]`.

    Args:
        starts: yield only the batches that begin at these indices; `None` for the whole split.
    """
    starts = range(0, len(split), batch_size) if starts is None else list(starts)
    parts = [slice(start, start + batch_size) for start in starts]
    for start, part, images in zip(starts, parts, _read(split.images, parts), strict=True):
        yield start, to_float(images.to(device)), split.labels[part].to(device)


def _read(images: Tensor | Streamed, parts: Sequence[slice | Tensor]) -> Iterator[Tensor]:
    return images.batches(parts) if isinstance(images, Streamed) else (images[part] for part in parts)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images to floats in [0, 1]; float images are copied."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.clone()
