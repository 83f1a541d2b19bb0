"""Adversarial weight perturbation: gradient and step are taken at weights perturbed to increase the loss."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from .._internal.modes import restored_statistics
from ..distiller import Distiller
from ..methods import Batch

__all__ = ["AWP", "perturbed"]

RELEASED = {"PGDAT": (0.01, 0), "TRADES": (0.005, 9)}  # by method: size, and the epoch from which weights are perturbed


def mean(losses: dict[str, Tensor]) -> Tensor:
    """Return the scalar loss of a `Distiller`: the sum of the means of the named losses `[B]`."""
    return torch.stack([loss.mean() for loss in losses.values()]).sum()


class AWP:
    """Adversarial weight perturbation for a `Distiller`'s losses, in your own training loop or in a run.

    Args:
        distiller: the weights are perturbed to increase its losses.
        size: gamma, relative to each layer's norm; `None` uses the release's: 0.01 for PGD-AT, 0.005 for TRADES.
        autocast: context to compute the losses in mixed precision, such as `lambda: torch.autocast("cuda")`.

    Attributes:
        begin: first epoch, counted from 0, in which the released code perturbs the weights; 9 for TRADES, else 0.

    Raises:
        ValueError: a size outside [0, 1], or `None` for a method that has no size in the release.

    Example:
        >>> import torch
        >>> import advdistill as ad
        >>> distiller, student = ad.Distiller("trades"), ad.models.create("convnet-2", 10, 1)
        >>> optimizer, awp = torch.optim.SGD(student.parameters(), 0.1), ad.AWP(distiller)
        >>> batch = distiller.craft(student, torch.rand(4, 1, 8, 8), torch.arange(4))
        >>> with awp(batch, student):
        ...     loss = sum(loss.mean() for loss in distiller.losses(batch, student).values())
        ...     loss.backward()
        ...     optimizer.step()
        >>> awp.size, awp.begin
        (0.005, 9)

    Reference: Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust Generalization. NeurIPS 2020.
    """

    def __init__(
        self,
        distiller: Distiller,
        size: float | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ):
        name = type(distiller.method.parts[0]).__name__
        if size is None and name not in RELEASED:
            raise ValueError(f"AWP's release has no size for {name}; give one, size=0.005 or 0.01 are usual.")
        usual, self.begin = RELEASED.get(name, (0.0, 0))
        self.distiller, self.autocast, self.size = distiller, autocast, usual if size is None else size
        if not 0 <= self.size <= 1:
            raise ValueError(f"AWP's size is a share of each layer's norm, between 0 and 1; got {self.size!r}.")

    def __call__(
        self,
        batch: Batch,
        student: nn.Module,
        total: Callable[[dict[str, Tensor]], Tensor] = mean,
        average: Callable[[Tensor], Tensor] = lambda gradient: gradient,
    ) -> AbstractContextManager[None]:
        """Return a context in which the student's weights are perturbed, see `perturbed`.

        This computes the losses once more, without changing the method's own state.

        Args:
            batch: from `Distiller.craft`.
            student: the module itself, without a DDP wrapper.
            total: computes the scalar loss from the named losses `[B]`.
            average: averages a gradient over the processes, if there are several.
        """
        parts = self.distiller.method.parts
        states = [dict(part.state) for part in parts]

        def loss() -> Tensor:
            with self.autocast():
                value = total(self.distiller.losses(replace(batch, trial=True), student))
            for part, state in zip(parts, states, strict=True):  # only the optimiser step changes the state
                part.state = state
            return value

        others = (*self.distiller.trained.values(), *self.distiller.modules.values())
        return perturbed(student, loss, self.size, average, others)


@contextmanager
def perturbed(
    student: nn.Module,
    loss: Callable[[], Tensor],
    size: float,
    average: Callable[[Tensor], Tensor],
    others: Iterable[nn.Module] = (),
) -> Iterator[None]:
    """In this context each weight tensor W of two or more dimensions is W + size |W| G / |G|, G the loss gradient.

    Compute the loss and its gradient and take the optimiser step inside, as the released code does: weight decay then
    applies to the perturbed weights. On exit, the perturbation is subtracted from the weights, updated or not; without
    a step they are restored bit for bit. Running statistics change only by what is computed inside the context.

    Args:
        loss: computes the loss of this batch, a scalar.
        size: gamma; 0.005 for TRADES and 0.01 for PGD-AT in the release.
        average: averages a gradient over the processes.
        others: further networks whose running statistics the computation of the loss changes.

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
