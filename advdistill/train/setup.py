"""From a recipe to what is trained: networks on their way to a device, data in two parts."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from .. import data, models
from ..acceleration.frozen import lay_out, native_bf16
from ..data import Split
from ..data.batches import to_float
from ..distiller import Distiller
from ..recipe import Recipe

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Parts", "assemble"]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a training is made of; `fabric` is launched, `train` and `validation` are disjoint parts of `data`."""

    fabric: "Fabric"
    student: nn.Module
    distiller: Distiller
    data: Split
    train: Split
    validation: Split


def assemble(
    recipe: Recipe,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    clean_teacher: nn.Module | None = None,
    peer: nn.Module | None = None,
    train: Split | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
) -> Parts:
    """Arguments and errors as in `distill`; no file is written."""
    source = recipe.data
    split = train or data.load(source.name, "train", source.folder, source.size, source.stream)
    used, validation = _parts(split, recipe)
    torch.manual_seed(recipe.seed)
    if student is None:
        student = models.create(recipe.student, split.num_classes, split.shape[0])
        if "peer" in recipe.method.teachers:
            peer = peer or models.create(recipe.student, split.num_classes, split.shape[0])
    teacher, clean_teacher = teacher or _load(recipe.teacher), clean_teacher or _load(recipe.clean_teacher)
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and native_bf16())
    distiller = Distiller(
        recipe.method.fresh(), teacher, clean_teacher, recipe.attack,
        peer=peer, label_mixing=recipe.label_mixing, fast=torch.bfloat16 if bf16 else torch.float32,
        compiled=recipe.compile, teacher_every=recipe.teacher_every,
    )  # fmt: skip
    images = to_float(used.images[:2])
    distiller.check(student, images, used.labels)
    for network in (student, *distiller.trained.values()):  # of the others only copies are run
        lay_out(network, images)
    fabric = _fabric("bf16-mixed" if bf16 else "32-true", accelerator, devices, num_nodes)
    if fabric.world_size > 1:
        student = _synchronised(student, fabric.device)
        for role, network in distiller.trained.items():
            distiller.teachers[role] = _synchronised(network, fabric.device)
    return Parts(fabric, student, distiller, split, used, validation)


def _parts(split: Split, recipe: Recipe) -> tuple[Split, Split]:
    used, validation = split.holdout(recipe.data.validation, recipe.seed)
    wanted = recipe.data.train_images
    if wanted is None or wanted == len(used):
        return used, validation
    if not 0 < wanted < len(used):
        raise ValueError(f"data.train_images must lie between 1 and {len(used)}, all but the held-out; got {wanted}.")
    return used.holdout(wanted / len(used), recipe.seed)[1], validation


def _load(reference: str | None) -> nn.Module | None:
    return None if reference is None else models.load(reference)


def _fabric(
    precision: Literal["bf16-mixed", "32-true"], accelerator: str, devices: int | str, num_nodes: int
) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        precision=precision,
        strategy="auto" if devices == 1 and num_nodes == 1 else DDPStrategy(broadcast_buffers=False),
    )
    fabric.launch()
    return fabric


def _synchronised(student: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(student)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in student.modules()):
        warnings.warn("Batch-norm is synchronised on CUDA only; each process normalises for itself.", stacklevel=3)
    return student
