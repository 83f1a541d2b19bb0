"""Detect, at an attack's first step and without an extra forward pass, whether the attack has a gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["NO_GRADIENT", "FirstGradient", "first_gradient"]

NO_GRADIENT = "no_gradient"  # the note: 1 if an image's first gradient is zero or not finite, else 0


@dataclass(eq=False)
class FirstGradient:
    """Which images have a first gradient that is zero or not finite, `[B]`; `None` if none was observed."""

    without_gradient: Tensor | None = None


@contextmanager
def first_gradient(network: nn.Module, images: int) -> Iterator[FirstGradient]:
    """Observe the first gradient through the network with respect to a batch of `images` images.

    Args:
        network: the attacked network.
        images: number of images in the batch; passes of another number, such as of copies, are ignored.

    Yields:
        The observation, filled in during the attack.
    """
    seen, waiting = FirstGradient(), True

    def see(gradient: Tensor | None) -> None:
        if gradient is not None and seen.without_gradient is None:  # `None` if a layer has none, such as an int8 linear
            peak = gradient.detach().abs().flatten(1).amax(1)  # NaN if any value is
            seen.without_gradient = ~((peak > 0) & peak.isfinite())

    def watch(module: nn.Module, given: tuple[object, ...]) -> None:
        nonlocal waiting
        x = given[0] if given else None
        if waiting and isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled() and len(x) == images:
            waiting = False
            x.register_hook(see)

    handle = network.register_forward_pre_hook(watch)
    try:
        yield seen
    finally:
        handle.remove()
