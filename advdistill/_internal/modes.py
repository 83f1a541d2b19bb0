"""Train and eval mode of a network, each of its modules with its own, and the running statistics that a mode moves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["after_forward", "in_mode", "restored_statistics"]


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


@contextmanager
def restored_statistics(*networks: nn.Module) -> Iterator[None]:
    """Within, running statistics and other buffers may change; afterwards they are as before."""
    saved = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in saved:
            buffer.copy_(before)


@contextmanager
def after_forward(network: nn.Module, x: Tensor) -> Iterator[None]:
    """Within, the running statistics are those after a forward pass of `x` in train mode; afterwards as before."""
    with restored_statistics(network):
        with in_mode(network, True), torch.no_grad():
            network(x)
        yield
