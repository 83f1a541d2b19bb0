"""One training step: attack the student, compute the losses, descend."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .._internal.rng import Rng
from ..data.batches import Share
from ..distiller import Distiller
from ..methods import Batch
from ..recipe import Recipe
from .average import averaged
from .awp import perturbed
from .distributed import Statistics, reduced
from .schedule import rate
from .state import State

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Step", "beginning", "sgd"]


def sgd(*networks: nn.Module) -> torch.optim.SGD:
    """One group of parameters for each network; a `Step` sets them every time."""
    return torch.optim.SGD([{"params": list(network.parameters())} for network in networks], lr=0.0)


def beginning(fabric: "Fabric", recipe: Recipe, student: nn.Module, distiller: Distiller) -> State:
    """The state of a run before its first step; student and teachers are moved to the device."""
    fabric.to_device(student)
    for teacher in distiller.teachers.values():
        fabric.to_device(teacher)
    optimizer = sgd(student, *distiller.trained.values())
    return State(student, distiller.trained, optimizer, distiller.method, averaged(recipe, student))


class Step:
    """One optimiser step, which changes the state; call it with the process's share of a batch.

    Args:
        state: its networks are on the device of `fabric`, and its values loaded, if there are any.
    """

    def __init__(self, fabric: "Fabric", recipe: Recipe, distiller: Distiller, state: State):
        self.fabric, self.recipe, self.distiller, self.state = fabric, recipe, distiller, state
        self.student = state.student
        self.wrapped = fabric.setup_module(self.student)
        self.trained = {role: fabric.setup_module(teacher) for role, teacher in distiller.trained.items()}
        self.optimizer: Any = fabric.setup_optimizers(state.optimizer)
        self.statistics = Statistics(fabric, state.student, *distiller.trained.values())

    @property
    def rate(self) -> float:
        """The student's learning rate in the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def __call__(self, share: Share, epoch: int, done: float) -> dict[str, Tensor]:
        """Train on a batch.

        Args:
            epoch: the current epoch, counted from 0.
            done: epochs done, a fraction included.

        Returns:
            The losses by name, scalars on the device; summed over the processes they are means over the images.
        """
        recipe, at = self.recipe, self.state.at
        progress, factor = (epoch + 1) / recipe.epochs, rate(recipe.schedule, done, recipe.epochs)
        self._set_rates(progress, factor)
        rng = Rng(recipe.seed, "start", at.step, device=self.fabric.device, start=share.start, total=share.total)
        self.wrapped.train()
        with self.fabric.autocast():
            batch = self.distiller.craft(
                self.student, share.x, share.y, progress=progress, rate=factor, total=self._total, rng=rng
            )
        # every image weighs the same, however the batch was divided among the processes
        weight = self.fabric.world_size / share.total
        with self._perturbed(batch, weight):
            with self.fabric.autocast():
                losses = self.distiller.losses(batch, self.wrapped, self.trained)
            means = {name: loss.sum() * weight for name, loss in losses.items()}
            self.optimizer.zero_grad()
            self.fabric.backward(cast(Tensor, sum(means.values())))
        self.optimizer.step()
        self.statistics.average()
        if self.state.average and recipe.ema is not None:
            self.state.average.update_parameters(self.student)
        return means

    def _set_rates(self, progress: float, factor: float) -> None:
        lr = self.recipe.optimizer.lr * factor / 2**self.state.at.rollbacks
        settings = vars(self.recipe.optimizer) | {"lr": lr}
        student, *teachers = self.optimizer.param_groups
        student.update(settings)
        for group in teachers:
            group.update(self.distiller.method.teacher_sgd(settings, progress))

    def _total(self, values: Tensor) -> Tensor:
        return reduced(self.fabric, values.detach().sum(0), "sum")

    def _perturbed(self, batch: Batch, weight: float) -> AbstractContextManager[None]:
        """Around the losses and their gradient: adversarial weight perturbation, where the recipe has it."""
        if self.recipe.awp is None:
            return nullcontext()
        parts = self.distiller.method.parts
        states = [dict(part.state) for part in parts]

        def loss() -> Tensor:
            with self.fabric.autocast():
                total = sum(loss.sum() * weight for loss in self.distiller.losses(batch, self.student).values())
            for part, state in zip(parts, states, strict=True):  # only the optimiser step below changes it
                part.state = state
            return cast(Tensor, total)

        mean = partial(reduced, self.fabric, by="mean")
        return perturbed(self.student, loss, self.recipe.awp, mean, self.distiller.trained.values())
