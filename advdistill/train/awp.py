"""Adversarial weight perturbation: the student descends from where its weights are worst nearby."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["perturbed"]


@contextmanager
def perturbed(
    student: nn.Module,
    loss: Callable[[], Tensor],
    size: float,
    average: Callable[[Tensor], Tensor],
    others: Iterable[nn.Module] = (),
) -> Iterator[None]:
    """Within, each weight tensor W of two or more dimensions is W + size |W| G / |G|, G the gradient of the loss.

    Take the loss and its gradient inside; afterwards the weights are as before, bit for bit. Running statistics change
    by what happens inside alone.

    Args:
        loss: of this batch, computed afresh.
        size: gamma; 0.005 for TRADES and 0.01 for PGD-AT in the release.
        average: of a gradient over the processes.
        others: networks whose running statistics the loss changes as well.

    Reference: Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust Generalization. NeurIPS 2020.
    """
    weights = [p for p in student.parameters() if p.requires_grad and p.dim() > 1]
    with _statistics_kept(student, *others):
        gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                gradient = average(gradient)
                weight.add_(gradient * (size * weight.norm() / gradient.norm().clamp(min=1e-20)))
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


@contextmanager
def _statistics_kept(*networks: nn.Module) -> Iterator[None]:
    kept = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in kept:
            buffer.copy_(before)
