"""The training loop: attack, descend, validate, save; deterministic, and resumable after any step."""

import math
import time

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from .. import models
from ..attacks import PGD
from ..data import Split
from ..data.batches import Batches, Share
from ..distiller import Distiller, in_mode
from ..evaluation.accuracy import correct
from ..recipe import Recipe
from ..rng import Rng
from ..run import Run
from .metrics import Metrics
from .progress import Reporter
from .schedule import rate
from .signals import Interrupted, StopSignals
from .state import State

__all__ = ["Trainer"]

STRIDE = 50  # steps between two looks at the losses, which make the processor wait for the device
SAVE_SECONDS = 600


class Trainer:
    """One training run.

    Args:
        student: the network to train, on the CPU; after `fit` it holds the last weights.
        distiller: the method with its teachers.
        train, validation: disjoint parts of the training split.
        run: where the files go; `fit` continues from its state, if there is one.
    """

    def __init__(
        self, fabric: Fabric, recipe: Recipe, student: nn.Module, distiller: Distiller,
        train: Split, validation: Split, run: Run,
    ):  # fmt: skip
        self.fabric, self.recipe, self.distiller, self.run = fabric, recipe, distiller, run
        self.validation = validation
        self.batches = Batches(
            train, recipe.batch_size, recipe.data.augment, recipe.seed,
            fabric.device, fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        self.student = fabric.to_device(student)
        for teacher in distiller.teachers.values():
            fabric.to_device(teacher)
        self.state = State(self.student, _sgd(recipe, self.student), distiller.method, recipe.ema)
        if run.state.exists():
            self.state.load(run.state)
        self.wrapped, self.optimizer = fabric.setup(self.student, self.state.optimizer)
        self.recent: list[dict[str, Tensor]] = []

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: a loss or a weight is no longer finite.
        """
        at, epochs = self.state.at, self.recipe.epochs
        total = epochs * len(self.batches)
        self.metrics = Metrics(self.run.metrics, at.step) if self.fabric.is_global_zero else None
        with StopSignals() as self.signals, Reporter(str(self.run), total, at.step, self._first) as self.reporter:
            if 0 < at.step < total:
                self.reporter.say(f"{self.run}: continuing at step {at.step} of {total}.")
            for epoch in range(at.epoch, epochs):
                self._epoch(epoch)
        if self._first and not self.run.last.exists():
            models.save(self.state.evaluated, self.run.last)

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
        row = {"step": at.step, "epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {f"loss/{name}": value / at.batch for name, value in at.sums.items()}
        row |= self._validate(epoch)
        row["seconds"] = round(time.monotonic() - began, 2)
        self._note(row)
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
        factor = rate(recipe.schedule, epoch + at.batch / len(self.batches), recipe.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * factor
        rng = Rng(recipe.seed, "start", at.step, device=self.fabric.device, start=share.start, total=share.total)

        def mean(values: Tensor) -> Tensor:
            return self.fabric.all_reduce(values.detach().sum() / share.total, reduce_op="sum")

        self.wrapped.train()
        with self.fabric.autocast():
            losses = self.distiller.losses(
                self.wrapped, share.x, share.y,
                progress=(epoch + 1) / recipe.epochs, rate=factor, mean=mean, rng=rng, attacked=self.student,
            )  # fmt: skip
        # every image weighs the same, however the batch was divided among the processes
        weight = self.fabric.world_size / share.total
        means = {name: loss.sum() * weight for name, loss in losses.items()}
        self.optimizer.zero_grad()
        self.fabric.backward(sum(means.values()))
        self.optimizer.step()
        if self.state.average:
            self.state.average.update_parameters(self.student)
        self.recent.append({name: mean.detach() for name, mean in means.items()})

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
        last = epoch + 1 == self.recipe.epochs
        if not last and (epoch + 1) % self.recipe.validate_every:
            return {}
        figures = {}
        if self._first:
            figures = self._accuracies()
            key = self.recipe.select_by
            if not self.state.at.best or _rank(figures, key) > _rank(self.state.at.best, key):
                self.state.at.best = figures | {"epoch": epoch + 1}
                models.save(self.state.evaluated, self.run.best, {"chosen": self._reason()})
        self.fabric.barrier()
        return figures

    def _reason(self) -> str:
        by = {"robust": "PGD-10 accuracy", "clean": "clean accuracy", "mean": "mean of clean and PGD-10 accuracy"}
        return (
            f"best {by[self.recipe.select_by]} on {len(self.validation)} held-out training images, "
            f"epoch {self.state.at.best['epoch']} of {self.recipe.epochs}"
        )

    def _accuracies(self) -> dict[str, float]:
        model, threat = self.state.evaluated, self.recipe.attack.threat
        attack = PGD(steps=10, step_size=threat.eps / 4, threat=threat, start="uniform")
        device, seed = self.fabric.device, self.recipe.seed
        self.signals.at_once = self.fabric.world_size == 1
        with in_mode(model, train=False):
            clean = correct(model, self.validation, seed=seed, device=device)
            robust = correct(model, self.validation, attack, seed=seed, device=device)
        self.signals.at_once = False
        return {"clean": clean.float().mean().item(), "robust": robust.float().mean().item()}

    def _note(self, row: dict[str, float]) -> None:
        if self._first:
            self.metrics.write(row)
            losses = " ".join(f"{name[5:]} {value:.4f}" for name, value in row.items() if name.startswith("loss/"))
            figures = " ".join(f"{name} {row[name]:.1%}" for name in ("clean", "robust") if name in row)
            validation = f"  validation {figures}" if figures else ""
            epoch = f"epoch {row['epoch']:>3}/{self.recipe.epochs}"
            self.reporter.say(f"{epoch}  loss {losses}{validation}  {row['seconds']:.1f} s")


def _rank(figures: dict[str, float], key: str) -> tuple[float, float]:
    clean, robust = figures["clean"], figures["robust"]
    return {"robust": (robust, clean), "clean": (clean, robust), "mean": (clean + robust, robust)}[key]


def _sgd(recipe: Recipe, student: nn.Module) -> torch.optim.SGD:
    o = recipe.optimizer
    return torch.optim.SGD(student.parameters(), o.lr, o.momentum, weight_decay=o.weight_decay, nesterov=o.nesterov)
