"""The training loop: attack, descend, validate, save; deterministic, and resumable after any step."""

import math
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from .. import models
from ..data import Split
from ..data.batches import Batches, Share
from ..distiller import Distiller
from ..methods import Batch
from ..recipe import Recipe
from ..rng import Rng
from ..run import Run
from .average import averaged, estimate_statistics
from .awp import perturbed
from .metrics import Metrics
from .progress import Reporter
from .schedule import epochs_of, rate
from .selection import accuracies, better, reason
from .signals import Interrupted, StopSignals
from .state import State

__all__ = ["Trainer"]

STRIDE = 50  # steps between two looks at the losses, which make the processor wait for the device
SAVE_SECONDS = 600


class Trainer:
    """One training run.

    Args:
        student: the network to train, on the CPU; after `fit` it holds the last weights.
        distiller: the method with its teachers, some of which may train along.
        train, validation: disjoint parts of the training split.
        run: where the files go; `fit` continues from its state, if there is one.
    """

    def __init__(
        self, fabric: Fabric, recipe: Recipe, student: nn.Module, distiller: Distiller,
        train: Split, validation: Split, run: Run,
    ):  # fmt: skip
        self.fabric, self.recipe, self.distiller, self.run = fabric, recipe, distiller, run
        self.train, self.validation = train, validation
        self.batches = Batches(
            train, recipe.batch_size, recipe.data.augment, recipe.seed,
            fabric.device, fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        self.student = fabric.to_device(student)
        for teacher in distiller.teachers.values():
            fabric.to_device(teacher)
        optimizer = _sgd(self.student, *distiller.trained.values())
        self.state = State(
            self.student, distiller.trained, optimizer, distiller.method, averaged(recipe, self.student)
        )
        if run.state.exists():
            self.state.load(run.state)
        self.wrapped = fabric.setup_module(self.student)
        self.trained = {role: fabric.setup_module(teacher) for role, teacher in distiller.trained.items()}
        self.optimizer = fabric.setup_optimizers(optimizer)
        self.recent: list[dict[str, Tensor]] = []

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: a loss or a weight is no longer finite.
        """
        at, epochs = self.state.at, self.recipe.epochs
        total = epochs * len(self.batches)
        noted = at.step - bool(at.batch)  # an epoch under way has not noted its last step, whatever a killed run wrote
        self.metrics = Metrics(self.run.metrics, noted) if self.fabric.is_global_zero else None
        with StopSignals() as self.signals, Reporter(str(self.run), total, at.step, self._first) as self.reporter:
            if 0 < at.step < total:
                self.reporter.say(f"{self.run}: continuing at step {at.step} of {total}.")
            for epoch in range(at.epoch, epochs):
                self._epoch(epoch)
        if self._first and not self.run.last.exists():
            models.save(self.state.evaluated, self.run.last)
        self.fabric.barrier()

    @property
    def _first(self) -> bool:
        return self.fabric.is_global_zero

    def _epoch(self, epoch: int) -> None:
        at, began = self.state.at, time.monotonic()
        saved = began
        for share in self.batches.epoch(epoch, skip=at.batch):
            self._step(share, epoch)
            at.batch, at.step = at.batch + 1, at.step + 1
            if at.step % STRIDE == 0:
                self._look()
            stop, due = self._agreed(self.signals.received, time.monotonic() - saved > SAVE_SECONDS)
            if stop or due:
                self._save()
                saved = time.monotonic()
            if stop:
                raise Interrupted(stop, f"saved at step {at.step}; the same command continues")
        self._save()
        self._average(epoch)
        row = {"step": at.step, "epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {f"loss/{name}": value / at.batch for name, value in at.sums.items()}
        row |= self._validate(epoch)
        row["seconds"] = round(time.monotonic() - began, 2)
        self.distiller.method.end_epoch(rate(self.recipe.schedule, epoch + 1, self.recipe.epochs))
        self._note(row | self.distiller.method.figures())
        at.epoch, at.batch, at.sums = epoch + 1, 0, {}
        self._save()

    def _agreed(self, *values: int) -> tuple[int, ...]:
        """The largest of each value over the processes, which ask each other now and then only."""
        if self.fabric.world_size == 1:
            return values
        if self.state.at.step % 10:
            return (0,) * len(values)
        largest = self.fabric.all_reduce(torch.tensor(values, device=self.fabric.device), reduce_op="max")
        return tuple(largest.tolist())

    def _step(self, share: Share, epoch: int) -> None:
        at, recipe = self.state.at, self.recipe
        progress = (epoch + 1) / recipe.epochs
        factor = rate(recipe.schedule, epoch + at.batch / len(self.batches), recipe.epochs)
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
            self.fabric.backward(sum(means.values()))
        self.optimizer.step()
        if recipe.ema is not None:
            self.state.average.update_parameters(self.student)
        self.recent.append({name: mean.detach() for name, mean in means.items()})

    def _set_rates(self, progress: float, factor: float) -> None:
        settings = vars(self.recipe.optimizer) | {"lr": self.recipe.optimizer.lr * factor}
        student, *teachers = self.optimizer.param_groups
        student.update(settings)
        for group in teachers:
            group.update(self.distiller.method.teacher_sgd(settings, progress))

    def _total(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values.detach().sum(0), reduce_op="sum")

    def _perturbed(self, batch: Batch, weight: float) -> AbstractContextManager:
        """Around the losses and their gradient: adversarial weight perturbation, where the recipe has it."""
        if self.recipe.awp is None:
            return nullcontext()
        parts = self.distiller.method.parts
        states = [dict(part.state) for part in parts]

        def loss() -> Tensor:
            with self.fabric.autocast():
                total = sum(loss.sum() * weight for loss in self.distiller.losses(batch, self.student).values())
            for part, state in zip(parts, states, strict=True):  # the step to come is the one that counts
                part.state = state
            return total

        return perturbed(self.student, loss, self.recipe.awp, self.fabric.all_reduce, self.distiller.trained.values())

    def _average(self, epoch: int) -> None:
        """Take the end of an epoch into the equal average, once that has begun."""
        begun = self.recipe.swa is not None and epoch >= epochs_of(self.recipe.swa, self.recipe.epochs)
        if begun:
            self.state.average.update_parameters(self.student)
        if begun and self._first:
            estimate_statistics(self.state.average.module, self.train, self.fabric.device)

    def _look(self) -> None:
        """Read the losses of the last steps, and stop if one is not finite."""
        at = self.state.at
        if not self.recent:
            return
        table = self.fabric.all_reduce(torch.stack([torch.stack(list(row.values())) for row in self.recent]))
        names, rows = list(self.recent[0]), table.tolist()
        for step, row in enumerate(rows, at.step - len(rows) + 1):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    self._diverged(f"The loss became {value} at step {step} (epoch {at.epoch + 1}): {name!r} first.")
                at.sums[name] = at.sums.get(name, 0.0) + value
        self.recent.clear()
        self.reporter.step(at.step, dict(zip(names, rows[-1], strict=True)))

    def _diverged(self, what: str) -> None:
        there = f" The last good state is {self.run.state}." if self.run.state.exists() else ""
        raise ValueError(f"{what}{there} Try a smaller --optimizer.lr.")

    def _save(self) -> None:
        self._look()
        if not all(p.isfinite().all() for p in self.student.parameters()):
            self._diverged(f"A weight is not finite after step {self.state.at.step}.")
        if self._first:
            self.state.save(self.run.state)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Clean and PGD-10 accuracy on the held-out part; the better checkpoint is kept."""
        recipe, epochs = self.recipe, self.recipe.epochs
        if epoch + 1 < epochs and (epoch + 1) % recipe.validate_every:
            return {}
        figures = {}
        if self._first:
            model, device = self.state.evaluated, self.fabric.device
            self.signals.at_once = self.fabric.world_size == 1
            figures = accuracies(model, self.validation, recipe.attack.threat, recipe.seed, device)
            self.signals.at_once = False
            if better(figures, self.state.at.best, recipe.select_by):
                self.state.at.best = figures | {"epoch": epoch + 1}
                chosen = reason(recipe.select_by, len(self.validation), epoch + 1, epochs, recipe.validate_every)
                fingerprint = self.validation.fingerprint()
                models.save(model, self.run.best, {"chosen": chosen, "chosen_on": fingerprint})
        self.fabric.barrier()
        return figures

    def _note(self, row: dict[str, float]) -> None:
        if self._first:
            self.metrics.write(row)
            losses = " ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss/"))
            figures = " ".join(f"{name} {row[name]:.1%}" for name in ("clean", "robust") if name in row)
            validation = f"  validation {figures}" if figures else ""
            epoch = f"epoch {row['epoch']:>3}/{self.recipe.epochs}"
            self.reporter.say(f"{epoch}  loss {losses}{validation}  {row['seconds']:.1f} s")


def _sgd(*networks: nn.Module) -> torch.optim.SGD:
    """One group of parameters for each network; `_set_rates` sets them at every step."""
    return torch.optim.SGD([{"params": list(network.parameters())} for network in networks], lr=0.0)
