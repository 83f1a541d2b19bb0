"""Averages of the student's weights, which are then evaluated and saved instead of them."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from .._internal.adapter import copying
from ..data import Split
from ..data.batches import in_order, to_float
from ..data.loaded import Loaded
from ..recipe import Recipe
from .schedule import epochs_of

__all__ = ["averaged", "ema_decay", "estimate_statistics", "keep"]


def averaged(recipe: Recipe, student: nn.Module) -> AveragedModel | None:
    """The recipe's average: exponential over steps (`ema`), equal over the ends of epochs (`swa`), or none."""
    with copying():
        if recipe.ema is not None:
            return AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        return AveragedModel(student) if recipe.swa is not None else None


def keep(average: AveragedModel, decay: float) -> None:
    """Set the share of an exponential average that its next update leaves."""
    average.multi_avg_fn = get_ema_multi_avg_fn(decay)


def ema_decay(recipe: Recipe, step: int, done: float) -> float:
    """The decay of the exponential average at a step.

        d = t - w,   0 where d < 0,   else min(ema, (1 + d) / (10 + d))

    with t the step counted from 1 and w the steps of `ema_warmup`; without that, `ema`. As released by Rade and by
    Wang et al. 2023, who have w = 0.025 of the run; the very first update copies the student, for any w.

    Args:
        step: optimiser steps done before.
        done: epochs done before, a fraction included.
    """
    if recipe.ema is None or recipe.ema_warmup is None:
        return recipe.ema or 0.0
    steps_per_epoch = step / done if done else 0.0
    since = step + 1 - epochs_of(recipe.ema_warmup, recipe.epochs) * steps_per_epoch
    return 0.0 if since < 0 or not step else min(recipe.ema, (1 + since) / (10 + since))


def estimate_statistics(model: nn.Module, split: Split | Loaded, device: torch.device, batch_size: int = 256) -> None:
    """Set the batch-norm statistics of averaged weights, from one pass over clean images without augmentation.

    The images of a loader have its own transforms.
    """
    if isinstance(split, Loaded):
        update_bn((to_float(x.to(device)) for x, _ in split.drawn(0)), model)
    else:
        update_bn((x for _, x, _ in in_order(split, batch_size, device)), model)
