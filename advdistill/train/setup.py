"""`distill` assembles networks, data and devices from a recipe, and trains."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from .._internal.adapter import copied
from .._internal.messages import first_line
from ..acceleration.frozen import native_bf16, to_channels_last
from ..data import Given
from ..data.batches import to_float
from ..data.similar import FEW
from ..data.with_extra import WithExtra
from ..distiller import Distiller
from ..methods.roles import check_roles
from ..models.saving import serialise
from ..recipe import Recipe
from ..run import Run
from .distributed import naming_lost_processes
from .given import check_loader, near_test, training_data
from .inputs import data_digests, extra_digests, network_digests
from .labels import check_use_of_labels
from .logging import check_loggers
from .networks import Networks, networks_of, synchronised
from .parts import Parts
from .teacher_check import inspect
from .trainer import Trainer
from .warm_start import warm_start

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger

__all__ = ["Networks", "Placement", "assemble", "distill", "fabric_on"]


@dataclass(frozen=True)
class Placement:
    """The devices of a run, as Lightning Fabric names them."""

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1

    def fabric(self, precision: Literal["bf16-mixed", "32-true"]) -> "Fabric":
        """Create a Fabric, not yet launched. Raises ValueError if this machine lacks the accelerator or the devices."""
        from lightning_fabric.strategies import DDPStrategy  # takes seconds to import

        strategy = "auto" if self.devices == self.num_nodes == 1 else DDPStrategy(broadcast_buffers=False)
        return fabric_on(
            self.accelerator, self.devices, num_nodes=self.num_nodes, precision=precision, strategy=strategy
        )


def fabric_on(accelerator: str, devices: int | str, **options: Any) -> "Fabric":
    """Create a Fabric, not yet launched. Raises ValueError if this machine lacks the accelerator or the devices."""
    from lightning_fabric import Fabric  # takes seconds to import

    try:
        return Fabric(accelerator=accelerator, devices=devices, **options)
    except Exception as error:  # Lightning's error classes depend on the accelerator
        here = ["cpu (--devices 1 or more)"]
        here += [f"cuda (--devices up to {count})"] if (count := torch.cuda.device_count()) else []
        here += ["mps (--devices 1)"] if torch.backends.mps.is_available() else []
        raise ValueError(
            f"--accelerator {accelerator} with --devices {devices} does not exist on this machine: "
            f"{first_line(error)} It has --accelerator {' or '.join(here)}."
        ) from error


def distill(
    recipe: Recipe,
    out: Path | str,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    clean_teacher: nn.Module | None = None,
    peer: nn.Module | None = None,
    teachers: Mapping[str, nn.Module] | None = None,
    train: Given | None = None,
    validation: Given | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    loggers: Sequence["str | Logger"] = (),
    accept_changes: bool = False,
    check_all_images: bool = False,
) -> Run:
    """Train a student as the recipe says; a second call with the same recipe and folder resumes the run.

    The run's state has digests of the networks and images that it began with. To resume, a student of your own or a
    jointly trained teacher must have its initial weights or those of the state: seed torch before you create it.

    Args:
        recipe: every choice of the run.
        out: the run's folder.
        student, teacher, clean_teacher: your own modules instead of those the recipe names; images `[B, C, H, W]` in
            [0, 1] to logits `[B, K]`. If torch.compile or DataParallel wraps a network, the network inside is trained.
        peer: for methods that train a peer, with a student of your own: a second network like that student.
        teachers: your own modules by role, for any role of the method.
        train: your own images and labels in place of the recipe's dataset, in any form that `data.as_split`
            accepts. A DataLoader is not read as a whole: training uses its batches, transforms and order, so the
            recipe's `batch_size` must match the loader's and `data.augment` must be "none". Such a run can resume in
            the middle of an epoch, but bit for bit only if the loader draws from torch's global generator alone.
        validation: held-out images to choose the checkpoint, in any of these forms; by default a part of `train`.
        accelerator, devices, num_nodes: as in Lightning Fabric. Several processes use the gradient of the whole batch;
            batch-norm is synchronised on CUDA only.
        loggers: receive each epoch's row of `metrics.jsonl`: "wandb", "mlflow", or Lightning loggers.
        accept_changes: allow a resume on other networks or data; state, metrics and checkpoints record the change.
        check_all_images: compare every image instead of a sample, see `train.inputs.data_digests`.

    Returns:
        The run, with `best` and `last` checkpoints.

    Raises:
        ImportError: a logger's package is missing.
        ValueError: a part of the recipe does not fit or a teacher is no better than guessing (no file was written);
            the run is resumed on other networks or data; a loss is no longer finite (`train.divergence.Diverged`);
            or both saved states of the run are damaged.
        OSError: the disk is full, or another process of the run has ended; the last saved state is intact.

    Warns:
        UserWarning: the robust teacher is not robust, or generated images are near-duplicates of test images.

    Example:
        >>> import tempfile, torch
        >>> from advdistill import Data, Linf, PGD, PGDAT, Recipe, distill
        >>> from advdistill.data import Split
        >>> images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> train = Split(images, torch.arange(40) % 2, ("even", "odd"), "random/train")
        >>> attack = PGD(steps=1, step_size=0.1, threat=Linf(0.1))
        >>> recipe = Recipe(PGDAT(), "convnet-2", data=Data("random"), attack=attack, epochs=1, batch_size=20)
        >>> run = distill(recipe, tempfile.mkdtemp(), train=train, accelerator="cpu")
        >>> run.last.exists(), run.recipe == recipe
        (True, True)
    """
    check_roles(recipe.method, teachers or {})
    given = {"robust": teacher, "clean": clean_teacher, "peer": peer, **(teachers or {})}
    networks = Networks(student, {role: network for role, network in given.items() if network is not None})
    run = Run(out)
    run.check(recipe)
    check_loggers(loggers)
    parts = assemble(recipe, networks, Placement(accelerator, devices, num_nodes), train, validation)
    fabric, distiller = parts.fabric, parts.distiller
    fabric.barrier()  # every process has checked the folder before the first one writes there
    if not run.begun:
        threat, report = recipe.attack.threat, _reporter(fabric)
        if parts.warm_start:
            report(f"{run}: the student begins with {parts.warm_start}.")
        if isinstance(parts.train, WithExtra):
            report(f"{run}: trains on {parts.train} as well.")
            if fabric.is_global_zero and (found := near_test(recipe, parts.train, FEW)):
                warnings.warn(str(found), stacklevel=2)
        inspect(distiller.teachers, parts.validation, threat, distiller.method, fabric.device, report)
    with run.writing(recipe) if fabric.is_global_zero else nullcontext(), naming_lost_processes(fabric, run):
        digests = _digests(recipe, parts, networks, check_all_images) if fabric.is_global_zero else {}
        digests = fabric.broadcast(digests)  # all processes raise, or none
        Trainer(recipe, parts, run, loggers, digests, accept_changes).fit()
    return run


def assemble(
    recipe: Recipe, networks: Networks | None = None, placement: Placement | None = None, train: Given | None = None,
    validation: Given | None = None,
) -> Parts:  # fmt: skip
    """Create or load what the recipe names; raises the errors of `distill`. No file is written."""
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and native_bf16())
    fabric = (placement or Placement()).fabric("bf16-mixed" if bf16 else "32-true")
    networks = networks or Networks()
    known = next((network for network in (networks.student, *networks.teachers.values()) if network is not None), None)
    split, used, held = training_data(recipe, train, validation, known)
    torch.manual_seed(recipe.seed)
    student, teachers = networks_of(recipe, networks, split)
    images, init = to_float(used.images[:2]), None
    if recipe.student_init is not None:
        student, init = warm_start(student, recipe.student_init, images)
    distiller = Distiller(
        recipe.method.fresh(), attack=recipe.attack, teachers=teachers,
        label_mixing=recipe.label_mixing, fast=torch.bfloat16 if bf16 else torch.float32,
        compiled=recipe.compile, teacher_every=recipe.teacher_every,
    )  # fmt: skip
    distiller.prepare(student, images, torch.stack(used.labels.aminmax())[-len(images) :])  # extreme labels
    check_use_of_labels(recipe, used, distiller, student)
    for network in (student, *distiller.trained.values()):  # frozen teachers are run as copies
        to_channels_last(network, images)
    for network in (student, *distiller.trained.values(), *distiller.modules.values()):
        serialise(network, {})  # fail now, not after an epoch, if a network cannot be saved or copied
        copied(network)
    fabric.launch()
    fabric.barrier()  # all are connected before one raises
    check_loader(used, recipe, fabric.global_rank, fabric.world_size)
    if fabric.world_size > 1:
        student = synchronised(student, fabric.device)
        for role, network in distiller.trained.items():
            distiller.teachers[role] = synchronised(network, fabric.device)
    return Parts(fabric, student, distiller, split, used, held, init)


def _digests(recipe: Recipe, parts: Parts, given: Networks, every_image: bool) -> dict[str, str]:
    """Return digests of the run's networks and data by name; see `inputs.Inputs`."""
    made = [f"teachers.{r}" for r in recipe.method.trained if r not in given.teachers and r not in recipe.references]
    made += ["student"] if given.student is None else []
    networks = network_digests(parts.student, parts.distiller.teachers, made)
    if parts.warm_start:
        networks["student_init"] = parts.warm_start.bound
    if isinstance(parts.train, WithExtra):
        networks |= extra_digests(parts.train.extra, every_image)
    return networks | data_digests(parts.data, parts.validation, every_image)


def _reporter(fabric: "Fabric") -> Callable[[str], None]:
    return partial(print, file=sys.stderr, flush=True) if fabric.is_global_zero else lambda line: None
