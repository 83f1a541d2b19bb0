"""The training loop: attack, descend, validate, save; deterministic, and resumable after any step."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .. import models
from .._internal.modes import batch_norms
from ..data.batches import Share
from ..data.loaded import batches_of
from ..recipe import Recipe
from ..run import Run
from .average import SWA, clean_images
from .checkpoints import BestCheckpoint
from .distributed import agreed
from .divergence import ROLLBACKS, Diverged, Recent, catastrophic, remedy
from .logging import Loggers, Metrics
from .parts import Parts
from .progress import Reporter
from .schedule import epochs_of, rate
from .signals import Interrupted, StopSignals
from .statistics import ReestimatedStatistics
from .status import Heartbeat
from .step import Step, beginning

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric.loggers import Logger

__all__ = ["Parts", "Trainer"]

READ_EVERY = 50  # steps; reading the losses makes the CPU wait for the device
SAVE_SECONDS = 600


class Trainer:
    """One training run.

    Args:
        run: where files are written; training continues from the run's state, if there is one.
        loggers: further receivers of each epoch's figures.
        digests: of networks and data, by name; with `accept_changes` they may differ from those in the state.

    Raises:
        ValueError: the saved states are damaged, or belong to a run with other networks or data.
    """

    def __init__(
        self, recipe: Recipe, parts: Parts, run: Run, loggers: Sequence["str | Logger"] = (),
        digests: Mapping[str, str] | None = None, accept_changes: bool = False,
    ):  # fmt: skip
        self.recipe, self.run, self.loggers = recipe, run, loggers
        self.fabric, self.distiller, self.train = parts.fabric, parts.distiller, parts.train
        fabric = self.fabric
        self.batches = batches_of(
            parts.train, recipe.batch_size, recipe.data.augmentation, recipe.seed,
            fabric.device, fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        self.state = beginning(fabric, recipe, parts.student, parts.distiller, len(self.batches))
        self.student = self.state.student
        self.damage, self.resumed_on = "", ""
        if run.begun:
            self.damage = self.state.load(run.state)
            self.resumed_on = self.state.resume_on(digests or {}, str(run), accept_changes)
        else:
            self.state.inputs.digests = dict(digests or {})
        self.best = BestCheckpoint(recipe, parts, run, self.state)
        self.descend = Step(fabric, recipe, parts.distiller, self.state)
        self.estimate = ReestimatedStatistics(recipe, parts.distiller, parts.train, fabric)
        self.recent = Recent(fabric)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: SIGINT or SIGTERM was received; the state is saved.
            Diverged: a loss or a weight is no longer finite.
            OSError: the disk is full; the last saved state is intact.
        """
        at, run = self.state.at, self.run
        total = self.recipe.epochs * len(self.batches)
        logged = at.step - bool(at.batch)  # drop the row of the unfinished epoch, which a killed run may have written
        self.metrics = Metrics(run.metrics, logged) if self._first else None
        self.signals, self.reporter = StopSignals(), Reporter(str(run), total, at.step, self._first)
        self.heartbeat = Heartbeat(run.heartbeat, self.state, total, self._first)
        self.outside = Loggers(self.loggers if self._first else (), run, self.reporter.say)
        with self.heartbeat, self.signals, self.reporter, self.outside:
            self._begin(total)
            while self.state.at.epoch < self.recipe.epochs:
                try:
                    self._epoch(self.state.at.epoch)
                except Diverged as error:
                    self._roll_back(error)
            if self._first and not run.last.exists():
                models.save(self.state.evaluated, run.last)
        self.fabric.barrier()

    def _begin(self, total: int) -> None:
        """Report a resume, or save the initial state: for a rollback, and to notice a full disk now."""
        at = self.state.at
        if self.recipe.statistics != "training" and not batch_norms(self.student):
            self.reporter.say(f"statistics={self.recipe.statistics} has no effect: the student has no batch-norm.")
        if self.damage:
            self.reporter.say(f"{self.damage}; continuing from the state before it, step {at.step} of {total}.")
        elif 0 < at.step < total:
            self.reporter.say(f"{self.run}: continuing at step {at.step} of {total}.")
        if self.resumed_on and at.step < total:
            self.reporter.say(self.resumed_on)
        if at.step == 0:
            self._save()
        if not at.batch and not self.best.is_saved(at.epoch):
            self._save_best()

    def _roll_back(self, error: Diverged) -> None:
        """Return to the last epoch's end with half the learning rate; raise Diverged if rollback is off or used up."""
        done = self.state.at.rollbacks
        if self.recipe.on_divergence == "stop":
            raise Diverged(
                f"{error} The last good state is {self.run.state}. Try a smaller --optimizer.lr, "
                "or continue with --on-divergence rollback."
            )
        if done == ROLLBACKS:
            raise Diverged(f"{error} It was rolled back {done} times before. Try a smaller --optimizer.lr.")
        self.recent.clear()
        self.state.load_epoch(self.run.state)
        self.fabric.barrier()  # every process has read the file that the first one now overwrites
        at = self.state.at
        at.rollbacks = done + 1
        again = f"rolled back to the end of epoch {at.epoch}, with the learning rate divided by {2**at.rollbacks}"
        self.reporter.say(f"{error} Rollback {at.rollbacks} of {ROLLBACKS}: {again}.")
        self._save()

    @property
    def _first(self) -> bool:
        return self.fabric.is_global_zero

    def _epoch(self, epoch: int) -> None:
        at, saved = self.state.at, time.monotonic()
        began = saved - at.seconds
        for share in self.batches.epoch(epoch, skip=at.batch):
            self._step(share, epoch)
            at.batch, at.step = at.batch + 1, at.step + 1
            self.heartbeat.beat()
            if at.step % READ_EVERY == 0:
                self._read_losses()
            stop, due = agreed(self.fabric, at.step, self.signals.received, time.monotonic() - saved > SAVE_SECONDS)
            if stop or due:
                at.seconds = time.monotonic() - began
                self._save()
                saved = time.monotonic()
            if stop:
                raise Interrupted(stop, f"saved at step {at.step}; run the same command to resume")
        at.seconds = time.monotonic() - began
        self._save()
        self._average(epoch)
        row = {"step": at.step, "epoch": epoch + 1, "lr": self.descend.rate}
        counts = {"rollbacks": at.rollbacks, "changed_inputs": len(self.state.inputs.changes)}
        row |= {name: count for name, count in counts.items() if count}
        row |= {f"loss/{name}": value / at.batch for name, value in at.sums.items()}
        row |= self._validate(epoch)
        row["seconds"] = round(time.monotonic() - began, 2)
        self.distiller.method.end_epoch(rate(self.recipe.schedule, epoch + 1, self.recipe.epochs))
        self._log(row | self.distiller.method.figures())
        at.epoch, at.batch, at.sums, at.seconds = epoch + 1, 0, {}, 0.0
        self._save()
        self._save_best()  # after the state: a run killed in between writes the checkpoint when it resumes

    def _step(self, share: Share, epoch: int) -> None:
        self.recent.add(self.descend(share, epoch, epoch + self.state.at.batch / len(self.batches)))

    def _average(self, epoch: int) -> None:
        """Add the weights at the end of an epoch to the equal average (`swa`), once averaging has begun."""
        average, swa = self.state.average, self.recipe.swa
        if isinstance(average, SWA) and swa is not None and epoch >= epochs_of(swa, self.recipe.epochs):
            average.update(self.student, clean_images(self.train, self.fabric.device))

    def _read_losses(self) -> None:
        """Add the losses of the last steps to the epoch's sums. Raises Diverged if a loss is not finite."""
        at = self.state.at
        rows = self.recent.read(at.step, at.epoch)
        for row in rows:
            for name, value in row.items():
                at.sums[name] = at.sums.get(name, 0.0) + value
        if rows:
            self.reporter.step(at.step, rows[-1])

    def _save(self) -> None:
        self._read_losses()
        if not all(p.isfinite().all() for p in self.student.parameters()):
            raise Diverged(f"A weight is not finite after step {self.state.at.step}.")
        if self._first:
            self.state.save(self.run.state)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Return clean and PGD-10 accuracy on the held-out images, if due; the best are stored in the state."""
        at = self.state.at
        if not self.best.due(epoch + 1):
            return {}
        self.signals.at_once = self.fabric.world_size == 1
        self.state.statistics = {}
        if self.recipe.statistics != "training":
            self.state.statistics = self.estimate(self.state.evaluated, epoch)
        figures = self.best.figures(self.state.evaluated)
        self.signals.at_once = False
        if self.best.better(figures, at.best):
            at.best = figures | {"epoch": epoch + 1}
        return figures

    def _save_best(self) -> None:
        """Write the best checkpoint if the epoch that just ended is the best so far."""
        at = self.state.at
        if self._first and at.best.get("epoch") == at.epoch:
            self.best.save(self.state.evaluated, at.epoch)

    def _log(self, row: dict[str, float]) -> None:
        if not self.metrics:
            return
        self.metrics.write(row)
        self.outside.log(row)
        self.reporter.epoch(row, self.recipe.epochs)
        if catastrophic(self.metrics.rows) == row["epoch"]:
            said = f"catastrophic overfitting since epoch {row['epoch']}. {remedy(self.recipe.attack)}"
            self.reporter.say(f"{self.run}: {said}")
