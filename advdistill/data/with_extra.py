"""A split with generated images to train on, and its batches, with fixed numbers of real and generated images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .._internal.rng import generator
from .batches import Batches, to_float
from .extra import Extra
from .split import Split

__all__ = ["MixedBatches", "WithExtra"]


@dataclass(frozen=True, eq=False)
class WithExtra(Split):
    """A split whose training batches also contain generated images.

    Attributes:
        extra: the generated images. `Share.index` counts them after the images of the split.
        fraction: share of generated images in each batch, in (0, 1).
    """

    extra: Extra = field(kw_only=True)
    fraction: float = field(kw_only=True)

    def __str__(self) -> str:
        """Return a description of the generated images and their share, for results."""
        return f"{self.extra}, {self.fraction:.0%} of each batch"

    def counts(self, batch_size: int) -> tuple[int, int]:
        """Return the numbers of real and generated images in each batch. Raises ValueError if one of them is 0."""
        generated = round(self.fraction * batch_size)
        if not 0 < generated < batch_size:
            raise ValueError(f"data.extra_fraction ({self.fraction:g}) of batch_size {batch_size} is {generated} "
                             "images; each batch needs at least one generated and one real image.")  # fmt: skip
        return batch_size - generated, generated


class MixedBatches(Batches):
    """Shuffled batches of exactly round(fraction * batch) generated images; the rest are real.

    Real and generated images are each drawn without replacement, in passes that continue across epochs. An epoch
    has as many batches as the real images alone would fill, ceil(N / batch), as in the releases of Gowal et al. 2021,
    Rebuffi et al. 2021 and Wang et al. 2023: with a fraction of 0.7 it uses three tenths of the real images. (Those
    releases draw generated images with replacement, and round the fraction of a batch down.)
    """

    def __init__(self, split: WithExtra, *arguments: Any, **options: Any):
        super().__init__(split, *arguments, **options)
        self.extra, self.counts = split.extra, split.counts(self.batch_size)
        self._passes: dict[tuple[str, int], Tensor] = {}

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def _order(self, epoch: int) -> list[Tensor]:
        return [self._batch(epoch, step) for step in range(len(self))]

    def _batch(self, epoch: int, step: int) -> Tensor:
        n, place = len(self.labels), epoch * len(self) + step
        real = self._drawn("order", n, self.counts[0], place)
        generated = n + self._drawn("extra", len(self.extra), self.counts[1], place)
        both = torch.cat([real, generated])
        return both[torch.randperm(len(both), generator=generator(self.seed, "shuffle", epoch, step))]

    def _drawn(self, kind: str, n: int, each: int, place: int) -> Tensor:
        """Return the indices of one kind of image in the run's batch `place`; each pass over `n` images is shuffled."""
        positions = torch.arange(place * each, (place + 1) * each)
        number = positions // n
        passes = number.unique().tolist()
        return torch.cat([self._pass(kind, n, p)[positions[number == p] - p * n].long() for p in passes])

    def _pass(self, kind: str, n: int, number: int) -> Tensor:
        if (kind, number) not in self._passes:
            for old in [key for key in self._passes if key[0] == kind and abs(key[1] - number) > 1]:
                del self._passes[old]
            whole = torch.randperm(n, dtype=torch.int32, generator=generator(self.seed, kind, "pass", number))
            self._passes[kind, number] = whole
        return self._passes[kind, number]

    def _read(self, steps: Sequence[Tensor]) -> Iterator[Tensor]:
        n = len(self.labels)
        for index, images in zip(steps, super()._read([index[index < n] for index in steps]), strict=True):
            generated = self.extra.read(index[index >= n] - n)
            if images.dtype != generated.dtype:
                generated = to_float(generated)
            both = images.new_empty((len(index), *images.shape[1:]))
            for mine, part in ((index < n, images), (index >= n, generated)):
                both[mine.nonzero()[:, 0].to(both.device)] = part.to(both.device)
            yield both

    def _labels(self, index: Tensor) -> Tensor:
        """Return labels; generated images without labels get 0, which no method may use: see `methods.labels`."""
        n = len(self.labels)
        labels = self.labels[index.clamp(max=n - 1).to(self.device)]
        others = (index >= n).nonzero()[:, 0]
        own = self.extra.labels
        labels[others.to(self.device)] = (
            torch.zeros(len(others), dtype=torch.int64) if own is None else own[index[others] - n]
        ).to(self.device)
        return labels
