"""Train and eval mode of a network; each of its modules has its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_mode"]


@contextmanager
def in_mode(network: nn.Module, train: bool) -> Iterator[None]:
    """Within, put a network in train or eval mode; afterwards restore each module's mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(train)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
