"""Batch-norm statistics of the network that is validated and saved, re-estimated on images of one's choice."""

import copy
from collections.abc import Iterator
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._internal.adapter import copied
from .._internal.modes import batch_norms
from .._internal.rng import Rng
from ..data import Split
from ..data.batches import Share
from ..data.loaded import Loaded, batches_of
from ..distiller import Distiller
from ..recipe import Recipe
from .distributed import reduced

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["ReestimatedStatistics", "described"]

SAID = {"adversarial": "adversarial", "clean": "clean", "mixed": "clean and adversarial"}


def described(recipe: Recipe) -> str | None:
    """Which images the statistics are of, in words; `None` where they are those of the training."""
    if recipe.statistics == "training":
        return None
    return f"{recipe.statistics_images} {SAID[recipe.statistics]} training images"


class ReestimatedStatistics:
    """Equal means of the batches' statistics over augmented training images, clean, attacked or both.

    x' is found by the training's attack on the network with its present statistics; the weights stay as they are. The
    batches depend on (seed, epoch) alone; several processes share them, and all have the same statistics.
    """

    def __init__(self, recipe: Recipe, distiller: Distiller, train: Split | Loaded, fabric: "Fabric"):
        self.recipe, self.distiller, self.train, self.fabric = recipe, distiller, train, fabric

    def __call__(self, network: nn.Module, epoch: int) -> dict[str, Tensor]:
        """The running statistics of a network by the names of its buffers; none where it has no batch-norm.

        Args:
            network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
            epoch: the current epoch, counted from 0.
        """
        if not batch_norms(network):
            return {}
        attacked, estimated = copied(network), copied(network).eval()
        layers = batch_norms(estimated)
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # an equal mean
            layer.train()
        distiller, seen = copy.copy(self.distiller), 0
        distiller._copies, distiller.compiled = self.distiller._copies.without("student"), False  # of another student
        for at, share in self._shares(epoch):
            for images in self._images(distiller, attacked, share, epoch, at):
                with torch.no_grad():
                    estimated(images)
                seen += 1
        self._average(layers, seen)
        running = ("running_mean", "running_var")
        return {name: value for name, value in estimated.named_buffers() if name.split(".")[-1] in running}

    def _shares(self, epoch: int) -> Iterator[tuple[int, Share]]:
        """This process's batches, each whole."""
        recipe, fabric = self.recipe, self.fabric
        batches = batches_of(self.train, recipe.batch_size, recipe.data.augmentation, recipe.seed, fabric.device)
        number = min(len(batches), ceil(recipe.statistics_images / recipe.batch_size))
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # synchronised layers need as many in each process
            number = max(fabric.world_size, number - number % fabric.world_size)
        for at, share in enumerate(islice(batches.epoch(epoch), number)):
            if at % fabric.world_size == fabric.global_rank:
                yield at, share

    def _images(
        self, distiller: Distiller, attacked: nn.Module, share: Share, epoch: int, at: int
    ) -> Iterator[Tensor]:
        kind = self.recipe.statistics
        if kind in ("adversarial", "mixed"):
            rng = Rng(self.recipe.seed, "statistics", epoch, at, device=self.fabric.device)
            progress = (epoch + 1) / self.recipe.epochs
            made = distiller.craft(attacked, share.x, share.y, progress=progress, rng=rng, index=share.index,
                                   targets=share.targets)  # fmt: skip
            yield made.x_adv
        if kind in ("clean", "mixed"):
            yield share.x

    def _average(self, layers: list[_BatchNorm], seen: int) -> None:
        """Over the processes, weighted by how many batches each has."""
        if self.fabric.world_size == 1:
            return
        tensors = [value for layer in layers for value in (layer.running_mean, layer.running_var) if value is not None]
        weighted = seen * torch.cat(tensors) if seen else torch.zeros_like(torch.cat(tensors))
        total = reduced(self.fabric, torch.tensor(float(seen), device=weighted.device), "sum")
        means = (reduced(self.fabric, weighted, "sum") / total).split([len(value) for value in tensors])
        for value, mean in zip(tensors, means, strict=True):
            value.copy_(mean)
