"""Random numbers as a function of (seed, epoch, step), or of an image, and not of earlier draws."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["ImageRng", "Rng", "generator", "seeded", "uniforms"]

GOLDEN, FIRST, SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
BITS = 24  # bits of a draw: as many as a float32 in [0, 1) holds


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends only on the key, e.g. `generator(seed, "order", epoch)`."""
    return torch.Generator(device).manual_seed(_hashed(*key))


def _hashed(*key: int | str) -> int:
    """Return 63 bits that depend only on the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(*key: int | str, places: Tensor, count: int) -> Tensor:
    """Return uniform numbers in [0, 1) for each image, a function of the key and of the image's index.

    Args:
        places: indices of the images, int64 `[B]`.
        count: how many numbers each image gets.

    Returns:
        float64 `[B, count]` on the device of `places`; SplitMix64, as for `ImageRng`.
    """
    states = _mixed(_hashed(*key) + (places[:, None] + 1) * GOLDEN)
    drawn = _mixed(states + torch.arange(1, count + 1, device=places.device) * GOLDEN)
    return _shifted(drawn, 64 - BITS).double() / 2**BITS


def _mixed(bits: Tensor) -> Tensor:
    for shift, factor in ((30, FIRST), (27, SECOND)):
        bits = (bits ^ _shifted(bits, shift)) * factor  # int64 wraps around, as SplitMix64 requires
    return bits ^ _shifted(bits, 31)


class Rng:
    """Random numbers for one process's images: the same rows that a single process would draw.

    Args:
        key: the draws depend only on the key, e.g. `(seed, epoch, step)`.
        start: index of this process's first image in the global batch.
        total: number of images in the global batch; `None` if this process has all of them.
    """

    def __init__(self, *key: int | str, device: torch.device | str = "cpu", start: int = 0, total: int | None = None):
        self.key, self.generator = key, generator(*key, device=device)
        self.start, self.total = start, total

    def child(self, *key: int | str) -> "Rng":
        """Return other draws for the same images, a function of this object's key and `key`, not of earlier draws."""
        return Rng(*self.key, *key, device=self.generator.device, start=self.start, total=self.total)

    @property
    def seed(self) -> int:
        """A 32-bit seed for other libraries' generators, a function of the key and `start`."""
        return generator(*self.key, self.start).initial_seed() % 2**32

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers with the shape, dtype and device of `like` `[B, ...]`."""
        return self._rows(torch.randn, like)

    def uniform(self, like: Tensor) -> Tensor:
        """Draw uniform numbers in [0, 1) with the shape, dtype and device of `like` `[B, ...]`."""
        return self._rows(torch.rand, like)

    def _rows(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        shape = (self.total or len(like), *like.shape[1:])
        drawn = draw(shape, generator=self.generator, device=like.device, dtype=like.dtype)
        return drawn[self.start : self.start + len(like)]


class ImageRng(Rng):
    """Random numbers for each image, independent of the other images in its batch.

    An image's n-th draw is a function of the key, the image's index and n: uniform numbers are the same on every
    device, and normal numbers the same up to rounding. Draws from `generator`, or from generators seeded with `seed`,
    depend on the index of the first image instead.

    Args:
        key: the draws depend only on the key and the places, e.g. `(seed, "attack")`.
        places: indices of the batch's images in their split. If a tensor has more rows, the rows are treated as copies
            of the batch, and each copy has its own draws.

    Reference: Steele, Lea and Flood, Fast splittable pseudorandom number generators (SplitMix64). OOPSLA 2014.
    """

    def __init__(self, *key: int | str, places: Sequence[int], device: torch.device | str = "cpu"):
        super().__init__(*key, places[0] if places else 0, device=device)
        self.places, self.drawn, self._key = places, 0, key
        self._states = torch.tensor([_hashed(*key, "image", place) for place in places], device=device)

    def child(self, *key: int | str) -> "ImageRng":
        return ImageRng(*self._key, *key, places=self.places, device=self.generator.device)

    def normal(self, like: Tensor) -> Tensor:
        radius = (-2 * (1 - self.uniform(like).double()).log()).sqrt()  # Box and Muller
        return (radius * (2 * torch.pi * self.uniform(like).double()).cos()).to(like.dtype)

    def uniform(self, like: Tensor) -> Tensor:
        each, copies = like[0].numel() if len(like) else 0, -(-len(like) // max(1, len(self.places)))
        count = torch.arange(self.drawn, self.drawn + copies * each, device=like.device).view(copies, 1, each)
        self.drawn += copies * each
        states = self._states.to(like.device)[:, None]
        bits = _mixed((states + (count + 1) * GOLDEN).flatten(0, 1)[: len(like)])
        bits = _shifted(bits, 64 - BITS)
        return (bits.to(like.dtype) / 2**BITS).view(like.shape)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift int64 to the right as if it were unsigned."""
    return (bits >> by) & (2 ** (64 - by) - 1)


@contextmanager
def seeded(rng: Rng) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python with `rng.seed`; restore them at exit."""
    device, numpy, python = rng.generator.device, np.random.get_state(), random.getstate()
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        torch.default_generator.manual_seed(rng.seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(rng.seed)
        np.random.seed(rng.seed)
        random.seed(rng.seed)
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)
