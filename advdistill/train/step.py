"""One training step: attack the student, compute the losses, descend."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .._internal.modes import in_mode, untracked_at
from .._internal.rng import Rng
from ..data.batches import Share
from ..distiller import Distiller
from ..losses import smoothed
from ..methods import Batch
from ..optimizers import groups, make, settings
from ..recipe import Recipe
from .average import EMA, averaged
from .awp import AWP
from .distributed import Statistics, reduced
from .schedule import attack_at, epochs_of, rate
from .state import State

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Step", "beginning", "optimised"]

STUDENT = "student"


def optimised(student: nn.Module, distiller: Distiller) -> dict[str, nn.Module]:
    """Return the networks to optimise, by name: the student, jointly trained teachers, the method's modules."""
    return {STUDENT: student, **distiller.trained, **distiller.modules}


def beginning(fabric: "Fabric", recipe: Recipe, student: nn.Module, distiller: Distiller, steps: int) -> State:
    """Return the state of a run before its first step. All networks are moved to the device.

    Args:
        steps: optimiser steps per epoch.
    """
    for network in (student, *distiller.teachers.values(), *distiller.modules.values()):
        fabric.to_device(network)
    optimizer = make(recipe.optimizer, groups(recipe.optimizer, optimised(student, distiller)))
    average = averaged(recipe, student, steps)
    return State(student, distiller.trained, optimizer, distiller.method, average, distiller.modules)


class Step:
    """One optimiser step on this process's share of a batch; it updates the state.

    Args:
        state: the run's state, its networks on the device of `fabric` and any saved values loaded.
    """

    def __init__(self, fabric: "Fabric", recipe: Recipe, distiller: Distiller, state: State):
        self.fabric, self.recipe, self.distiller, self.state = fabric, recipe, distiller, state
        self.student = state.student
        self.wrapped = fabric.setup_module(self.student)
        self.trained = {role: fabric.setup_module(teacher) for role, teacher in distiller.trained.items()}
        self.optimizer: Any = fabric.setup_optimizers(state.optimizer)
        networks = optimised(state.student, distiller)
        self.groups, self.settings = groups(recipe.optimizer, networks), settings(recipe.optimizer)
        self.statistics = Statistics(fabric, *networks.values())
        self.classes: int | None = None  # counted when labels are first smoothed

    @property
    def rate(self) -> float:
        """The student's learning rate in the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def __call__(self, share: Share, epoch: int, done: float) -> dict[str, Tensor]:
        """Train on a batch.

        Args:
            epoch: the current epoch, counted from 0.
            done: epochs done, including the fraction of the current one.

        Returns:
            The losses by name, scalars on the device. Averaged over the processes, they are means over the images.
        """
        recipe = self.recipe
        progress, factor = (epoch + 1) / recipe.epochs, rate(recipe.schedule, done, recipe.epochs)
        self._set_rates(progress, factor)
        self.wrapped.train()
        self.optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        with ExitStack() as perturbation:  # stays open until after the optimiser step
            for part in share.parts(recipe.accumulate):
                for name, loss in self._gradient(part, epoch, progress, factor, perturbation).items():
                    means[name] = means[name] + loss if name in means else loss
            self._average_gradients()
            if recipe.clip_gradient is not None:
                torch.nn.utils.clip_grad_norm_(self.student.parameters(), recipe.clip_gradient)
            self.optimizer.step()
        self.statistics.average()
        self.distiller.method.after_step(self.student, self.distiller.modules)
        if isinstance(self.state.average, EMA):
            self.state.average.update(self.student)
        return means

    @contextmanager
    def _attack_of(self, epoch: int) -> Iterator[None]:
        """Within the context, the distiller uses this epoch's attack."""
        whole = self.distiller.attack
        self.distiller.attack = attack_at(self.recipe, whole, epoch)
        try:
            yield
        finally:
            self.distiller.attack = whole

    def _classes(self, batch: Batch) -> int:
        """Return the number of classes K; the student is run once to count them."""
        if self.classes is None:
            with torch.no_grad(), in_mode(self.student, False):
                self.classes = self.student(batch.x[:2]).shape[1]
        return self.classes

    def _gradient(
        self, share: Share, epoch: int, progress: float, factor: float, perturbation: ExitStack
    ) -> dict[str, Tensor]:
        """Attack and accumulate the gradient of the losses; return this part's share of the means over the batch.

        Perturbed weights stay perturbed until `perturbation` is closed.
        """
        fabric = self.fabric
        rng = Rng(
            self.recipe.seed, "start", self.state.at.step, device=fabric.device, start=share.start, total=share.total
        )
        with fabric.autocast(), self._attack_of(epoch):
            batch = self.distiller.craft(
                self.student, share.x, share.y, progress=progress, rate=factor, total=self._total, rng=rng,
                index=share.index, targets=share.targets,
            )  # fmt: skip
        # every image weighs the same, however the batch was divided among the processes
        weight = fabric.world_size / share.total
        batch.released = self.recipe.passes == "released"
        if self.recipe.label_smoothing:
            batch.targets = smoothed(batch.targets, self.recipe.label_smoothing, self._classes(batch))
        perturbation.enter_context(self._perturbed(batch, weight))
        with self._tracked_passes(batch):
            with fabric.autocast():
                losses = self.distiller.losses(batch, self.wrapped, self.trained)
            means = {name: loss.sum() * weight for name, loss in losses.items()}
            fabric.backward(cast(Tensor, sum(means.values())))
        return {name: mean.detach() for name, mean in means.items()}

    @contextmanager
    def _tracked_passes(self, batch: Batch) -> Iterator[None]:
        """Choose which forward passes within the context update the running statistics.

        With `passes="adversarial"`, passes at x do not. With `passes="released"`, the additional passes of the
        released code are run at the end.
        """
        if not batch.released:
            alone = self.recipe.passes == "adversarial" and batch.x_adv is not batch.x
            with untracked_at(self.student, batch.x) if alone else nullcontext():
                yield
            return
        made: set[int] = set()
        with self.student.register_forward_pre_hook(lambda module, inputs: made.add(inputs[0].data_ptr())):
            yield
        for name in self.distiller.method.released_passes:
            if name == "adv" or batch.x.data_ptr() not in made:
                with torch.no_grad(), self.fabric.autocast():
                    self.wrapped({"clean": batch.x, "adv": batch.x_adv}[name])

    def _set_rates(self, progress: float, factor: float) -> None:
        student = self.settings | {"lr": self.recipe.optimizer.lr * factor / 2**self.state.at.rollbacks}
        for group, options in zip(self.groups, self.optimizer.param_groups, strict=True):
            own = group.name != STUDENT
            options.update(self.distiller.method.parameter_group(group.name, student, progress) if own else student)
            if not group.decays and "weight_decay" in options:
                options["weight_decay"] = 0.0

    def _average_gradients(self) -> None:
        """Average the gradients of the method's modules over the processes; DDP does so for the wrapped networks."""
        if self.fabric.world_size == 1:
            return
        for module in self.distiller.modules.values():
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad.copy_(reduced(self.fabric, parameter.grad, "mean"))

    def _total(self, values: Tensor) -> Tensor:
        return reduced(self.fabric, values.detach().sum(0), "sum")

    def _perturbed(self, batch: Batch, weight: float) -> AbstractContextManager[None]:
        """Return the context for losses, gradient and step: adversarial weight perturbation, if due."""
        if self.recipe.awp is None or self.state.at.epoch < epochs_of(self.recipe.awp_begin, self.recipe.epochs):
            return nullcontext()

        def total(losses: dict[str, Tensor]) -> Tensor:
            return cast(Tensor, sum(loss.sum() * weight for loss in losses.values()))

        awp = AWP(self.distiller, self.recipe.awp, self.fabric.autocast)
        return awp(batch, self.student, total, partial(reduced, self.fabric, by="mean"))
