"""A training on a loader: its own batches, in place of those of a split."""

import warnings
from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from .augment import Augment
from .batches import Batches, Share, to_float
from .forms import as_images, as_labels
from .loader import collated, drawn, name_of, pairs
from .split import Images, Split
from .with_extra import MixedBatches, WithExtra

__all__ = ["Loaded", "LoadedBatches", "batches_of"]


class Loaded(Images):
    """A loader to train on, in place of a split: its own batches, transforms, order and batch size.

    Args:
        loader: yields images `[B, C, H, W]`, uint8 or floats in [0, 1], and labels `[B]`; it has a length.
        classes: their names.

    Attributes:
        images, labels: of its first batch, on the CPU.

    Raises:
        ValueError: the loader has no length, or its first batch is of another form.
    """

    def __init__(self, loader: Any, classes: tuple[str, ...]):
        self.loader, self.classes, self.name = loader, classes, name_of(loader)
        self._form: torch.Size | None = None
        try:
            len(loader)
        except TypeError:
            raise ValueError(f"The loader of {self.name} has no length, so nobody knows when an epoch ends. "
                             "Give one of a dataset with a length.") from None  # fmt: skip
        own = [sampler.generator for sampler in (loader, *self.samplers) if getattr(sampler, "generator", None)]
        states = [drawing.get_state() for drawing in own]
        first = next(self.drawn(0), None)
        for drawing, state in zip(own, states, strict=True):  # the first epoch is to begin where it would have
            drawing.set_state(state)
        if first is None:
            raise ValueError(f"The loader of {self.name} yields no batch.")
        self.images, self.labels = first[0].cpu(), first[1].cpu()
        self._form = self.images.shape[1:]

    def __len__(self) -> int:
        """Batches of an epoch; a last one of a single image, of which batch-norm could make nothing, is left out."""
        size, sampler = getattr(self.loader, "batch_size", None), getattr(self.loader, "sampler", None)
        if getattr(self.loader, "drop_last", True) or not size or not isinstance(sampler, Sized):
            return len(self.loader)
        return len(self.loader) - (len(sampler) % size == 1)

    def drawn(self, *key: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, batch by batch, without the first `skip`; draws depend on `key`, see `drawn`."""
        batches = collated(drawn(self.loader, *key), self.name)
        for images, labels in pairs(islice(batches, skip, len(self)), self.name):
            x, y = as_images(images, self.name), as_labels(labels, self.name)
            self._check(x, y)
            yield x, y
        for _ in islice(batches, 2):  # what is left out, and the end, where some samplers draw once more
            pass

    def _check(self, x: Tensor, y: Tensor) -> None:
        if len(x) != len(y):
            raise ValueError(f"{self.name}: {len(x)} images but {len(y)} labels.")
        if self._form not in (None, x.shape[1:]):
            raise ValueError(f"{self.name}: its images differ in size, {list(x.shape[1:])} after {list(self.shape)}. "
                             "Resize them to one, in its transforms.")  # fmt: skip
        wrong = y[(y < 0) | (y >= self.num_classes)]
        if len(wrong):
            raise ValueError(f"{self.name}: labels must lie in 0..{self.num_classes - 1}, the classes of the model or "
                             f"of the validation images; a batch has {int(wrong[0])}.")  # fmt: skip

    @property
    def samplers(self) -> list[Any]:
        """Of images and of batches, where the loader has them."""
        batches = getattr(self.loader, "batch_sampler", None)
        found = getattr(self.loader, "sampler", None), batches, getattr(batches, "sampler", None)
        return [sampler for sampler in found if sampler is not None]

    def shared_by(self, rank: int, world: int) -> bool:
        """Whether each process draws images of its own."""
        shared = [sampler for sampler in self.samplers if isinstance(sampler, DistributedSampler)]
        return world == 1 or any((sampler.rank, sampler.num_replicas) == (rank, world) for sampler in shared)


class LoadedBatches:
    """What `Batches` is of a split, of a loader: the batches of each epoch, on a device.

    What the loader draws from torch's global generator depends on the seed, the epoch and the process alone.
    """

    def __init__(self, loaded: Loaded, seed: int, device: torch.device | str, rank: int = 0, world: int = 1):
        self.loaded, self.seed, self.device, self.rank, self.world = loaded, seed, device, rank, world
        self._begun = False

    def __len__(self) -> int:
        return len(self.loaded)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """The batches of an epoch, without the first `skip`, which are loaded all the same.

        Warns:
            UserWarning: once, where a run is resumed, since nobody knows what else a loader draws from.
        """
        if (epoch or skip) and not self._begun:
            warnings.warn(
                f"The run goes on at batch {skip} of epoch {epoch + 1} of the loader of {self.loaded.name}. It is the "
                "unbroken run bit for bit only if the loader draws from torch's global generator alone.",
                stacklevel=3,
            )
        self._begun = True
        for sampler in self.loaded.samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        for x, y in self.loaded.drawn(self.seed, epoch, self.rank, skip=skip):
            b = len(y)
            yield Share(to_float(x.to(self.device)), y.to(self.device), self.rank * b, self.world * b)


def batches_of(
    train: Split | Loaded,
    batch_size: int,
    augment: str | Augment,
    seed: int,
    device: torch.device | str,
    rank: int = 0,
    world: int = 1,
) -> Batches | LoadedBatches:
    """The batches of a split, or those of a loader as it makes them; arguments as of `Batches`."""
    if isinstance(train, Loaded):
        return LoadedBatches(train, seed, device, rank, world)
    if isinstance(train, WithExtra):
        return MixedBatches(train, batch_size, augment, seed, device, rank, world)
    return Batches(train, batch_size, augment, seed, device, rank, world)
