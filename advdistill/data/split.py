"""A split: images and labels that belong together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._internal.reading import printable
from .streamed import Streamed


class Images:
    """Base class of splits, loaders and generated images: images `[N, C, H, W]` and the class names."""

    images: Tensor | Streamed
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes K; a class may have no images."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True, eq=False)
class Split(Images):
    """Images, their labels and the class names, in a fixed order.

    Args:
        images: uint8 `[N, C, H, W]`, pixel values 0..255, or float32 in [0, 1], which are used as they are; or
            `Streamed`, which leaves the images on disk until they are read.
        labels: int64 `[N]`, each in `0..len(classes)-1`.
        classes: the class names, in the order of the labels.
        name: where the images come from, such as `"cifar10/train"`.

    Raises:
        ValueError: images or labels of another type or shape, or a label outside the classes.

    Example:
        >>> import torch
        >>> from advdistill.data import Split
        >>> images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
        >>> split = Split(images, torch.arange(6) % 2, ("even", "odd"), "mine/train")
        >>> len(split), split.shape, split.first(3).labels.tolist()
        (6, (1, 8, 8), [0, 1, 0])
        >>> [len(part) for part in split.holdout(1 / 3, seed=0)]  # training and validation
        [4, 2]
    """

    images: Tensor | Streamed
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        self._check_form("images", self.images, (torch.uint8, torch.float32), "[N, C, H, W]", 4)
        self._check_form("labels", self.labels, (torch.int64,), "[N]", 1)
        if len(self.images) != len(self.labels):
            raise ValueError(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels.")
        self._check_range()

    def _check_form(
        self, what: str, tensor: Tensor | Streamed, dtypes: tuple[torch.dtype, ...], form: str, dims: int
    ) -> None:
        if tensor.dtype not in dtypes or tensor.ndim != dims:
            known = " or ".join(map(str, dtypes))
            raise ValueError(
                f"{self.name}: {what} must be {known} {form}, got {tensor.dtype} {list(tensor.shape)}."
            )

    def _check_range(self) -> None:
        wrong = ((self.labels < 0) | (self.labels >= self.num_classes)).nonzero()
        if len(wrong):
            index = int(wrong[0])
            raise ValueError(
                f"{self.name}: labels must lie in 0..{self.num_classes - 1}; "
                f"this split has {self.labels[index].item()} at index {index}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray | Tensor) -> "Split":
        """Return the images at `indices`, in that order."""
        indices = torch.as_tensor(indices)
        return self._part(indices)

    def first(self, n: int) -> "Split":
        """Return the first `n` images. Raises ValueError unless `1 <= n <= len(self)`."""
        if not 1 <= n <= len(self):
            raise ValueError(f"{self.name} has {len(self)} images; the first {n} cannot be taken.")
        return self._part(slice(n))

    def _part(self, index: slice | Tensor) -> "Split":
        images = self.images.take(index) if isinstance(self.images, Streamed) else self.images[index]
        return replace(self, images=images, labels=self.labels[index])

    def holdout(self, fraction: float, seed: int) -> tuple["Split", "Split"]:
        """Divide into a training and a validation part, class by class.

        The parts are disjoint, together cover the split, keep its order and depend only on `seed`. Every class
        gives `fraction` of its images, rounded, to validation, and at least one image to each part.

        Raises:
            ValueError: `fraction` outside (0, 1), or a class with fewer than 2 images.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"The held-out fraction must lie between 0 and 1, got {fraction}.")
        held = draw(self.labels.numpy(), self._validation_sizes(fraction), seed)
        kept = np.setdiff1d(np.arange(len(self)), held, assume_unique=True)
        return self.take(kept), replace(self.take(held), name=f"{self.name} (held out)")

    def _validation_sizes(self, fraction: float) -> list[int]:
        sizes = self.labels.bincount(minlength=self.num_classes).tolist()
        for name, size in zip(self.classes, sizes, strict=True):
            if size < 2:
                raise ValueError(
                    f"{self.name}: class {printable(name)!r} has {size} image(s); a held-out part needs at least 2."
                )
        return [min(max(1, round(fraction * size)), size - 1) for size in sizes]

    def fingerprint(self) -> str:
        """Return twelve hex digits that identify these images and labels."""
        return fingerprint(self.images, self.labels)


def fingerprint(images: Tensor | Streamed, labels: Tensor) -> str:
    """Return the first twelve hex digits of the sha256 of the images' bytes followed by the labels'."""
    if isinstance(images, Streamed):
        return images.fingerprint(labels)
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()[:12]


def draw(labels: np.ndarray, sizes: Sequence[int], seed: int) -> np.ndarray:
    """Return ascending indices of `sizes[c]` images of each class `c`, drawn at random by `seed`."""
    # numpy never changes RandomState's stream (NEP 19), so these splits never change either.
    random = np.random.RandomState(seed)
    drawn = [random.permutation(np.flatnonzero(labels == c))[:size] for c, size in enumerate(sizes)]
    return np.sort(np.concatenate(drawn))
