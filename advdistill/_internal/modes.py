"""The modes of a network, train and eval, of each module by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_mode"]


@contextmanager
def in_mode(network: nn.Module, train: bool) -> Iterator[None]:
    """Put a network in train or eval mode for a while; each module's own mode is restored, frozen ones included."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(train)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
