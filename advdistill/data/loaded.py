"""Training on a loader: its own batches replace those of a split."""

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
from .loader import collated, iterate, name_of, pairs
from .split import Images, Split
from .with_extra import MixedBatches, WithExtra

__all__ = ["Loaded", "LoadedBatches", "batches_of"]


class Loaded(Images):
    """A loader to train on instead of a split, with its own batches, transforms, order and batch size.

    Args:
        loader: yields images `[B, C, H, W]`, uint8 or floats in [0, 1], and labels `[B]`; must have a length.
        classes: the class names.

    Attributes:
        images, labels: those of the first batch, on the CPU.

    Raises:
        ValueError: the loader has no length, or its first batch has another form.
    """

    def __init__(self, loader: Any, classes: tuple[str, ...]):
        self.loader, self.classes, self.name = loader, classes, name_of(loader)
        self._form: torch.Size | None = None
        try:
            len(loader)
        except TypeError:
            raise ValueError(f"The loader of {self.name} has no length, which is needed to know when an epoch ends. "
                             "Use a dataset with a length.") from None  # fmt: skip
        own = [sampler.generator for sampler in (loader, *self.samplers) if getattr(sampler, "generator", None)]
        states = [drawing.get_state() for drawing in own]
        first = next(self.iterate(0), None)
        for drawing, state in zip(own, states, strict=True):  # so that the first epoch does not change
            drawing.set_state(state)
        if first is None:
            raise ValueError(f"The loader of {self.name} yields no batch.")
        self.images, self.labels = first[0].cpu(), first[1].cpu()
        self._form = self.images.shape[1:]

    def __len__(self) -> int:
        """Return the number of batches in an epoch, without a last batch of one image, too small for batch-norm."""
        size, sampler = getattr(self.loader, "batch_size", None), getattr(self.loader, "sampler", None)
        if getattr(self.loader, "drop_last", True) or not size or not isinstance(sampler, Sized):
            return len(self.loader)
        return len(self.loader) - (len(sampler) % size == 1)

    def iterate(self, *key: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of each batch after the first `skip`; draws depend on `key`, see `loader.iterate`."""
        batches = collated(iterate(self.loader, *key), self.name)
        for images, labels in pairs(islice(batches, skip, len(self)), self.name):
            x, y = as_images(images, self.name), as_labels(labels, self.name)
            self._check(x, y)
            yield x, y
        for _ in islice(batches, 2):  # the dropped batch, and the end, where some samplers draw once more
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
        """The loader's samplers of images and of batches, if it has them."""
        batches = getattr(self.loader, "batch_sampler", None)
        found = getattr(self.loader, "sampler", None), batches, getattr(batches, "sampler", None)
        return [sampler for sampler in found if sampler is not None]

    def shared_by(self, rank: int, world: int) -> bool:
        """Return whether each process loads its own share: one process only, or a matching DistributedSampler."""
        shared = [sampler for sampler in self.samplers if isinstance(sampler, DistributedSampler)]
        return world == 1 or any((sampler.rank, sampler.num_replicas) == (rank, world) for sampler in shared)


class LoadedBatches:
    """The counterpart of `Batches` for a loader: the batches of each epoch, on a device.

    The loader's draws from torch's global generator depend only on the seed, the epoch and the process.
    """

    def __init__(self, loaded: Loaded, seed: int, device: torch.device | str, rank: int = 0, world: int = 1):
        self.loaded, self.seed, self.device, self.rank, self.world = loaded, seed, device, rank, world
        self._begun = False

    def __len__(self) -> int:
        return len(self.loaded)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """Yield the batches of an epoch after the first `skip`, which are loaded and discarded.

        Warns:
            UserWarning: once, if a run is resumed, because a loader may draw from generators that are not restored.
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
        for x, y in self.loaded.iterate(self.seed, epoch, self.rank, skip=skip):
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
    """Return the batches of a split, or a loader's own batches; the arguments are those of `Batches`."""
    if isinstance(train, Loaded):
        return LoadedBatches(train, seed, device, rank, world)
    if isinstance(train, WithExtra):
        return MixedBatches(train, batch_size, augment, seed, device, rank, world)
    return Batches(train, batch_size, augment, seed, device, rank, world)
