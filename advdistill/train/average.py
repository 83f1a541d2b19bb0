"""Averages of the student's weights, evaluated and saved in place of the weights themselves."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn, update_bn

from .._internal.adapter import copying
from ..data import Split
from ..data.batches import in_order, to_float
from ..data.loaded import Loaded
from ..recipe import Recipe
from .schedule import epochs_of

__all__ = ["EMA", "SWA", "averaged", "clean_images"]


class EMA(AveragedModel):
    """An exponential moving average of a student's weights and running statistics; call `update` after each step.

    Args:
        student: the network in training; the first update copies its weights into the average.
        decay: fraction of the old average that each update keeps, in [0, 1].
        warmup: steps w during which the average is the student; then step t keeps min(decay, (1 + d) / (10 + d)) with
            d = t - w, as released by Rade and by Wang et al. 2023, who use w = 0.025 of the run. `None` keeps `decay`.

    Attributes:
        module: the averaged network, to evaluate and to save.

    Example:
        >>> import advdistill as ad
        >>> student = ad.models.create("convnet-2", 10, 1)
        >>> average = ad.EMA(student, decay=0.995)
        >>> average.update(student)
        >>> type(average.module) is type(student)
        True
    """

    def __init__(self, student: nn.Module, decay: float = 0.995, warmup: float | None = None):
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA's decay must lie between 0 and 1, got {decay!r}.")
        if warmup is not None and not warmup >= 0:
            raise ValueError(f"EMA's warmup is a number of steps, at least 0, got {warmup!r}.")
        self.decay, self.warmup = decay, warmup
        with copying():
            super().__init__(student, multi_avg_fn=self._mean, use_buffers=True)

    def update(self, student: nn.Module) -> None:
        """Add the student's current weights and running statistics to the average."""
        self.update_parameters(student)

    def _mean(self, averages: PARAM_LIST, values: PARAM_LIST, updates: Tensor | int) -> None:
        get_ema_multi_avg_fn(self.decay_at(int(updates)))(averages, values, updates)

    def decay_at(self, updates: int) -> float:
        """Return the decay of the next update after `updates` of them; the very first update copies the student."""
        if self.warmup is None:
            return self.decay
        since = updates + 1 - self.warmup
        return 0.0 if since < 0 else min(self.decay, (1 + since) / (10 + since))


class SWA(AveragedModel):
    """An equal average of a student's weights at the ends of epochs, with re-estimated running statistics.

    Args:
        student: the network in training.

    Attributes:
        module: the averaged network, to evaluate and to save.

    Example:
        >>> import torch
        >>> import advdistill as ad
        >>> student, images = ad.models.create("convnet-2", 10, 1), torch.rand(8, 1, 8, 8)
        >>> average = ad.SWA(student)
        >>> average.update(student, images.split(4))
        >>> int(average.n_averaged)
        1
    """

    def __init__(self, student: nn.Module):
        with copying():
            super().__init__(student)

    def update(self, student: nn.Module, images: Iterable[Tensor]) -> None:
        """Add the student's current weights, then re-estimate the average's batch-norm statistics.

        The student's statistics belong to other weights, so an average of the statistics would be wrong.

        Args:
            images: batches `[B, C, H, W]` in [0, 1] on the student's device, such as all clean training images.
        """
        self.update_parameters(student)
        update_bn(images, self.module)


def averaged(recipe: Recipe, student: nn.Module, steps: int) -> EMA | SWA | None:
    """Create the recipe's average: exponential over steps (`ema`), equal over the ends of epochs (`swa`), or `None`.

    Args:
        steps: optimiser steps per epoch.
    """
    if recipe.ema is not None:
        warmup = None if recipe.ema_warmup is None else steps * epochs_of(recipe.ema_warmup, recipe.epochs)
        return EMA(student, recipe.ema, warmup)
    return SWA(student) if recipe.swa is not None else None


def clean_images(split: Split | Loaded, device: torch.device, batch_size: int = 256) -> Iterator[Tensor]:
    """Yield all images in batches `[B, C, H, W]` in [0, 1], not augmented; a loader applies its own transforms."""
    if isinstance(split, Loaded):
        yield from (to_float(x.to(device)) for x, _ in split.iterate(0))
    else:
        yield from (x for _, x, _ in in_order(split, batch_size, device))
