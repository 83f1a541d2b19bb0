"""The front door: from a recipe to a trained student in a run folder."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from ..data import Split
from ..recipe import Recipe
from ..run import Run
from .distributed import noticing_loss
from .logging import check
from .setup import assemble
from .teacher_check import inspect
from .trainer import Trainer

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger

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
    loggers: Sequence["str | Logger"] = (),
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
        loggers: take the figures of each epoch as `metrics.jsonl` does: "wandb", "mlflow", or loggers of Lightning.

    Returns:
        The run, with `best` and `last` checkpoints.

    Raises:
        ImportError: a logger's package is missing.
        ValueError: something in the recipe does not fit, or a teacher knows too little, and no file was written; or a
            loss is no longer finite (`train.divergence.Diverged`), or both states of the run are damaged.
        OSError: the disk is full, or another process of the run has ended; the state before still stands.

    Warns:
        UserWarning: the robust teacher is not robust.
    """
    run = Run(out)
    run.check(recipe)
    check(loggers)
    parts = assemble(
        recipe, student=student, teacher=teacher, clean_teacher=clean_teacher, peer=peer, train=train,
        accelerator=accelerator, devices=devices, num_nodes=num_nodes,
    )  # fmt: skip
    fabric, distiller = parts.fabric, parts.distiller
    fabric.barrier()  # every process has checked the folder before the first one writes there
    if not run.begun:
        threat, report = recipe.attack.threat, _reporter(fabric)
        inspect(distiller.teachers, parts.validation, threat, distiller.method, fabric.device, report)
    with run.writing(recipe) if fabric.is_global_zero else nullcontext(), noticing_loss(fabric, run):
        Trainer(fabric, recipe, parts.student, distiller, parts.train, parts.validation, run, loggers).fit()
    return run


def _reporter(fabric: "Fabric") -> Callable[[str], None]:
    return partial(print, file=sys.stderr, flush=True) if fabric.is_global_zero else lambda line: None
