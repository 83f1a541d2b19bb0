"""Train and eval mode of a network, which each of its modules has for itself; passes that change no statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["batch_norms", "in_mode", "untracked"]


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that have running statistics."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Within, batch-norm in train mode normalises by the batch and leaves its running statistics as they are."""
    tracking = [layer for layer in batch_norms(network) if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True


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
