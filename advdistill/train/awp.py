"""Adversarial weight perturbation: gradient and step are taken at weights perturbed to increase the loss."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .._internal.modes import restored_statistics

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

    Compute the loss and its gradient and take the optimiser's step inside, as the release does: weight decay is then of
    the perturbed weights. Afterwards the same is subtracted from the weights, whatever a step has made of them; without
    a step they are as before, bit for bit. Running statistics change only by what is computed inside.

    Args:
        loss: computes the loss of this batch, a scalar.
        size: gamma; 0.005 for TRADES and 0.01 for PGD-AT in the release.
        average: of a gradient over the processes.
        others: networks whose running statistics the loss changes as well.

    Reference: Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust Generalization. NeurIPS 2020.
    """
    weights = [p for p in student.parameters() if p.requires_grad and p.dim() > 1]
    with restored_statistics(student, *others):
        gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    saved = [weight.detach().clone() for weight in weights]
    moved = []
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                gradient = average(gradient)
                weight.add_(gradient * (size * weight.norm() / gradient.norm().clamp(min=1e-20)))
            moved.append(weight.detach().clone())
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before, after in zip(weights, saved, moved, strict=True):
                weight.copy_(torch.where(weight == after, before, weight - (after - before)))
