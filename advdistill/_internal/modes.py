"""Temporary changes of a network: train or eval mode of its modules, gradients, running statistics."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    *("after_forward", "batch_norms", "in_mode", "kept_modes", "restored_statistics", "untracked", "untracked_at"),
    "without_parameter_gradients",
]


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch-norm layers that have running statistics."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Let batch-norm in train mode normalise by the batch without updating its running statistics."""
    tracking = [layer for layer in batch_norms(network) if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True


@contextmanager
def untracked_at(network: nn.Module, x: Tensor) -> Iterator[None]:
    """Make passes of the images `x`, `[B, C, H, W]`, `untracked`; passes of other images are tracked."""
    now = ExitStack()

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].data_ptr() == x.data_ptr():
            now.enter_context(untracked(network))

    after = network.register_forward_hook(lambda *_: now.close(), always_call=True)
    with network.register_forward_pre_hook(before), after:
        yield


@contextmanager
def in_mode(network: nn.Module, train: bool) -> Iterator[None]:
    """Put a network in train or eval mode; restore each module's mode at exit."""
    with kept_modes(network):
        network.train(train)
        yield


@contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """Restore the mode of each of a network's modules at exit."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def without_parameter_gradients(network: nn.Module) -> Iterator[None]:
    """Let gradients flow to the images only, so that `backward()` adds nothing to the parameters' gradients."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@contextmanager
def restored_statistics(*networks: nn.Module) -> Iterator[None]:
    """Restore the networks' running statistics and other buffers at exit."""
    saved = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in saved:
            buffer.copy_(before)


@contextmanager
def after_forward(network: nn.Module, x: Tensor) -> Iterator[None]:
    """Update the running statistics by a forward pass of `x` in train mode; restore them at exit."""
    with restored_statistics(network):
        with in_mode(network, True), torch.no_grad():
            network(x)
        yield
