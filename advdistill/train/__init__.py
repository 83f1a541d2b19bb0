"""The front door: from a recipe to a trained student in a run folder."""

import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn

from .. import data, models
from ..data import Split
from ..data.batches import to_float
from ..distiller import Distiller
from ..frozen import native_bf16
from ..recipe import Recipe
from ..run import Run
from .teachers import inspect

__all__ = ["distill"]


def distill(
    recipe: Recipe,
    out: Path | str,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    clean_teacher: nn.Module | None = None,
    peer: nn.Module | None = None,
    train: Split | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
) -> Run:
    """Train a student as the recipe says; called again with the same recipe and folder, continue.

    Args:
        recipe: every choice of the run.
        out: the run's folder.
        student, teacher, clean_teacher: your own modules in place of the recipe's names; `[B, C, H, W]` in [0, 1] to
            logits `[B, K]`.
        peer: beside your own student, a second one like it, for methods that train a peer along.
        train: your own training split in place of the recipe's dataset.
        accelerator, devices, num_nodes: as Lightning Fabric understands them. Several processes descend the gradient of
            the whole batch; batch-norm is synchronised on CUDA, where PyTorch can.

    Returns:
        The run, with `best` and `last` checkpoints.

    Raises:
        ValueError: something in the recipe does not fit, or a teacher knows too little; no file was written.

    Warns:
        UserWarning: the robust teacher is not robust.
    """
    from .loop import Trainer  # Lightning takes seconds to import

    run = Run(out)
    split = train or data.load(recipe.data.name, "train", recipe.data.folder)
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
    distiller.check(student, to_float(used.images[:2]), used.labels)
    run.check(recipe)
    fabric = _fabric("bf16-mixed" if bf16 else "32-true", accelerator, devices, num_nodes)
    fabric.barrier()  # every process has checked the folder before the first one writes there
    if fabric.world_size > 1:
        student = _synchronised(student, fabric.device)
        for role, network in distiller.trained.items():
            distiller.teachers[role] = _synchronised(network, fabric.device)
    if not run.state.exists():
        threat, report = recipe.attack.threat, _reporter(fabric)
        inspect(distiller.teachers, validation, threat, distiller.method, fabric.device, report)
    with run.writing(recipe) if fabric.is_global_zero else nullcontext():
        Trainer(fabric, recipe, student, distiller, used, validation, run).fit()
    return run


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


def _fabric(precision: str, accelerator: str, devices: int | str, num_nodes: int):
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


def _reporter(fabric) -> Callable[[str], None]:
    return partial(print, file=sys.stderr, flush=True) if fabric.is_global_zero else lambda line: None


def _synchronised(student: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(student)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in student.modules()):
        warnings.warn("Batch-norm is synchronised on CUDA only; each process normalises for itself.", stacklevel=3)
    return student
