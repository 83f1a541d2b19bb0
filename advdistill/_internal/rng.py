"""Randomness as a function of (seed, epoch, step): a draw does not depend on earlier ones."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["Rng", "generator", "seeded"]


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on the key alone, e.g. `generator(seed, "order", epoch)`."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)


class Rng:
    """Random numbers for one process's images: the same rows that a single process would draw.

    Args:
        key: the draws depend on it alone, e.g. `(seed, epoch, step)`.
        start: the place of this process's first image in the global batch.
        total: images in the global batch; `None` if this process has all of them.
    """

    def __init__(self, *key: int | str, device: torch.device | str = "cpu", start: int = 0, total: int | None = None):
        self.key, self.generator = key, generator(*key, device=device)
        self.start, self.total = start, total

    def child(self, *key: int | str) -> "Rng":
        """Other draws for the same images, from this one's key and `key`, whatever was drawn before."""
        return Rng(*self.key, *key, device=self.generator.device, start=self.start, total=self.total)

    @property
    def seed(self) -> int:
        """For generators of others: 32 bits, a function of the key and `start`."""
        return generator(*self.key, self.start).initial_seed() % 2**32

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape, dtype and device of `like` `[B, ...]`."""
        return self._rows(torch.randn, like)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), of the shape, dtype and device of `like` `[B, ...]`."""
        return self._rows(torch.rand, like)

    def _rows(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        shape = (self.total or len(like), *like.shape[1:])
        drawn = draw(shape, generator=self.generator, device=like.device, dtype=like.dtype)
        return drawn[self.start : self.start + len(like)]


@contextmanager
def seeded(rng: Rng) -> Iterator[None]:
    """Within, the global generators of torch, NumPy and Python begin at `rng.seed`; afterwards they are as before."""
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
