"""A split to train on together with generated images, and its batches, which hold a fixed number of either."""

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
    """A split whose training batches have generated images among their own.

    Attributes:
        extra: the generated images. As places of a batch's images they come after those of the split.
        fraction: of each batch, in (0, 1).
    """

    extra: Extra = field(kw_only=True)
    fraction: float = field(kw_only=True)

    def __str__(self) -> str:
        """The generated images and their share, for results."""
        return f"{self.extra}, {self.fraction:.0%} of each batch"

    def counts(self, batch_size: int) -> tuple[int, int]:
        """Real and generated images of each batch. Raises ValueError where it would have none of either."""
        generated = round(self.fraction * batch_size)
        if not 0 < generated < batch_size:
            raise ValueError(f"data.extra_fraction ({self.fraction:g}) of batch_size {batch_size} is {generated} "
                             "images; each batch needs at least one generated and one real image.")  # fmt: skip
        return batch_size - generated, generated


class MixedBatches(Batches):
    """Batches of exactly round(fraction * batch) generated images and otherwise real ones, shuffled.

    Real and generated images are each drawn without replacement, pass after pass, wherever an epoch ends. An epoch is
    as many batches as the real images would fill alone, ceil(N / batch), as in the releases of Gowal et al. 2021,
    Rebuffi et al. 2021 and Wang et al. 2023: with a fraction of 0.7 it sees three tenths of the real images. (Those
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
        """The images of the `place`-th batch of the run, of `n` of a kind, in passes of an order of their own."""
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
        """Those of generated images without labels are 0, which nothing may use: see `methods.labels`."""
        n = len(self.labels)
        labels = self.labels[index.clamp(max=n - 1).to(self.device)]
        others = (index >= n).nonzero()[:, 0]
        own = self.extra.labels
        labels[others.to(self.device)] = (
            torch.zeros(len(others), dtype=torch.int64) if own is None else own[index[others] - n]
        ).to(self.device)
        return labels
