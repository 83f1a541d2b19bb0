"""Estimate from a few steps how long a run will take on this machine."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..attacks import PGD
from ..data import Split
from ..data.loaded import Loaded, batches_of
from ..distiller import Distiller
from ..recipe import Recipe
from ..train.checkpoints import accuracies
from ..train.statistics import ReestimatedStatistics, batches_used
from ..train.step import Step, beginning

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Estimate", "estimate", "proposals"]

STEPS, SECONDS = 5, 20.0  # timed after one warm-up step: at most this many steps, fewer if slow
VALIDATED = 128  # held-out images whose validation is timed
FEWEST = 3  # the fewest attack steps that are proposed; with two, students on digits were less robust
SMALLER = {
    "resnet34": "resnet18", "resnet18": "resnet20", "preact_resnet18": "resnet20", "mobilenet_v2": "resnet20",
    "preact_resnet18_bn": "resnet20", "preact_resnet18_2x2": "resnet20", "resnet32": "resnet20",
    "resnet56": "resnet20", "resnet20": "resnet8", "wide_resnet": "resnet18",
}  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a run.

    Attributes:
        step: seconds of a training step, the median of a few.
        steps: training steps of an epoch.
        validation: seconds of validation per epoch, averaged over all epochs, also those without it; includes
            re-estimating the batch-norm statistics.
        epochs: epochs of the recipe.
        memory: peak bytes on a CUDA device; otherwise of this process.
    """

    step: float
    steps: int
    validation: float
    epochs: int
    memory: int

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.step * self.steps + self.validation

    @property
    def total(self) -> float:
        """Seconds of the run."""
        return self.epoch * self.epochs

    def within(self, budget: float) -> int:
        """Return the number of epochs that fit into `budget` seconds."""
        return int(budget / self.epoch)


def estimate(
    fabric: "Fabric", recipe: Recipe, student: nn.Module, distiller: Distiller, train: Split | Loaded,
    validation: Split,
) -> Estimate:  # fmt: skip
    """Train for a few steps and time them; the networks are changed, and moved to the device."""
    batches = batches_of(train, recipe.batch_size, recipe.data.augmentation, recipe.seed, fabric.device)
    step = Step(fabric, recipe, distiller, beginning(fabric, recipe, student, distiller, len(batches)))
    shares, times, began = cycle(batches.epoch(0)), [], time.monotonic()
    for share in shares:
        times.append(_time(partial(step, share, 0, 0.0), fabric.device))
        if len(times) > STEPS or (len(times) > 1 and time.monotonic() - began > SECONDS):
            break
    some = validation.first(min(VALIDATED, len(validation)))
    threat = recipe.attack.threat
    validated = _time(lambda: accuracies(student, some, threat, recipe.seed, fabric), fabric.device)
    validated *= len(validation) / len(some)
    if recipe.statistics != "training":
        of_a_batch = recipe.replace(statistics_images=recipe.batch_size)
        reestimate = ReestimatedStatistics(of_a_batch, distiller, train, fabric)
        validated += batches_used(recipe, len(batches)) * _time(lambda: reestimate(student, 0), fabric.device)
    per_epoch = validated / recipe.validate_every
    return Estimate(statistics.median(times[1:]), len(batches), per_epoch, recipe.epochs, _peak_memory(fabric.device))


def proposals(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yield cheaper variants of a recipe, each with its command-line option; some may not suit the method."""
    if recipe.teacher_every is None:
        yield "--teacher-every 5", replace(recipe, teacher_every=5)
    if isinstance(recipe.attack, PGD) and recipe.attack.steps > FEWEST:
        steps = max(FEWEST, (recipe.attack.steps + 1) // 2)
        yield f"--attack.steps {steps}", replace(recipe, attack=replace(recipe.attack, steps=steps))
    family, _, width = recipe.student.partition("-")
    smaller = f"convnet-{int(width) // 2}" if family == "convnet" and int(width or 0) > 2 else SMALLER.get(family)
    if smaller:
        yield f"--student {smaller}", replace(recipe, student=smaller)


def _time(work: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    began = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
