"""Averages of the student's weights, which are then evaluated and saved instead of them."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from ..data import Split
from ..data.batches import in_order, to_float
from ..data.loaded import Loaded
from ..recipe import Recipe

__all__ = ["averaged", "estimate_statistics"]


def averaged(recipe: Recipe, student: nn.Module) -> AveragedModel | None:
    """The recipe's average: exponential over steps (`ema`), equal over the ends of epochs (`swa`), or none."""
    if recipe.ema is not None:
        return AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    return AveragedModel(student) if recipe.swa is not None else None


def estimate_statistics(model: nn.Module, split: Split | Loaded, device: torch.device, batch_size: int = 256) -> None:
    """Set the batch-norm statistics of averaged weights, from one pass over clean images without augmentation.

    The images of a loader have its own transforms.
    """
    if isinstance(split, Loaded):
        update_bn((to_float(x.to(device)) for x, _ in split.drawn(0)), model)
    else:
        update_bn((x for _, x, _ in in_order(split, batch_size, device)), model)
