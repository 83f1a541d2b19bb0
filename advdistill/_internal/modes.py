"""Changes of a network for a while: train or eval mode of its modules, gradients, running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["batch_norms", "in_mode", "kept_modes", "untracked", "without_parameter_gradients"]


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
    with kept_modes(network):
        network.train(train)
        yield


@contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """Whatever happens to a network's modes within, afterwards restore each module's mode."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def without_parameter_gradients(network: nn.Module) -> Iterator[None]:
    """Within, gradients flow to the images only, so that `backward()` adds nothing to the parameters' gradients."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
