"""Changes of a network for a while: train or eval mode, which each module has for itself, and gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_mode", "kept_modes", "without_parameter_gradients"]


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
