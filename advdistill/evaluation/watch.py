"""Whether an attack has a gradient to climb: seen at its first step, without a pass of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["NO_GRADIENT", "FirstGradient", "first_gradient"]

NO_GRADIENT = "no_gradient"  # the note: 1 where an image's first gradient is zero or not finite, else 0


@dataclass(eq=False)
class FirstGradient:
    """What was seen: which images have a first gradient that is zero or somewhere not finite, `[B]`, or `None`."""

    lost: Tensor | None = None


@contextmanager
def first_gradient(network: nn.Module, images: int) -> Iterator[FirstGradient]:
    """Within, the first gradient that is taken through the network with respect to a batch of so many images is seen.

    Args:
        network: the one that is attacked.
        images: of the batch; a pass of fewer, or of copies, is not seen.

    Yields:
        What was seen, filled in during the attack.
    """
    seen, waiting = FirstGradient(), True

    def see(gradient: Tensor | None) -> None:
        if gradient is not None and seen.lost is None:  # `None` under a layer without one, such as an int8 linear
            peak = gradient.detach().abs().flatten(1).amax(1)  # NaN where one of them is
            seen.lost = ~((peak > 0) & peak.isfinite())

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
