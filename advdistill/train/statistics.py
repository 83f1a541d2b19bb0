"""Batch-norm statistics re-estimated on images of one's choice, in a training or for any network."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._internal.adapter import copied
from .._internal.messages import unknown
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

__all__ = ["ReestimatedStatistics", "batches_used", "described", "update_bn"]

Images = Literal["adversarial", "clean", "mixed"]

SAID = {"adversarial": "adversarial", "clean": "clean", "mixed": "clean and adversarial"}


def batches_used(recipe: Recipe, epoch: int) -> int:
    """How many batches the statistics are of, where an epoch has so many."""
    return min(epoch, ceil(recipe.statistics_images / recipe.batch_size))


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
        attacked, distiller = copied(network), _for_another_student(self.distiller)
        images = (
            one for at, share in self._shares(epoch) for one in self._images(distiller, attacked, share, epoch, at)
        )
        estimated, count = _estimated(network, images)
        self._average(batch_norms(estimated), count)
        running = ("running_mean", "running_var")
        return {name: value for name, value in estimated.named_buffers() if name.split(".")[-1] in running}

    def _shares(self, epoch: int) -> Iterator[tuple[int, Share]]:
        """This process's batches, each whole."""
        recipe, fabric = self.recipe, self.fabric
        batches = batches_of(self.train, recipe.batch_size, recipe.data.augmentation, recipe.seed, fabric.device)
        number = batches_used(recipe, len(batches))
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # synchronised layers need as many in each process
            number = max(fabric.world_size, number - number % fabric.world_size)
        for at, share in enumerate(islice(batches.epoch(epoch), number)):
            if at % fabric.world_size == fabric.global_rank:
                yield at, share

    def _images(
        self, distiller: Distiller, attacked: nn.Module, share: Share, epoch: int, at: int
    ) -> Iterator[Tensor]:
        rng = Rng(self.recipe.seed, "statistics", epoch, at, device=self.fabric.device)
        return _of(
            self.recipe.statistics, distiller, attacked, share.x, share.y, progress=(epoch + 1) / self.recipe.epochs,
            rng=rng, index=share.index, targets=share.targets,
        )  # fmt: skip

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


def update_bn(
    network: nn.Module, batches: Iterable[Sequence[Tensor]], distiller: Distiller,
    images: Images = "adversarial", seed: int = 0,
) -> None:
    """Re-estimate a network's batch-norm statistics in place, as a recipe's `statistics` does; weights and modes stay.

    As `torch.optim.swa_utils.update_bn`, but on adversarial images, which the distiller's attack makes against the
    network with its statistics of before. A network without batch-norm stays as it is.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; trained in any way.
        batches: training images and labels `[B]`, on any device, augmented as in the training. A recipe takes 2,048
            images.
        distiller: whose attack makes x'; without a teacher `Distiller("pgd_at", attack=...)`.
        images: `adversarial`, `clean`, or `mixed`: both of each batch.
        seed: draws the starts of the attack.

    Raises:
        ValueError: an unknown kind of images, no batch at all, one that is not images and labels, or what
            `Distiller.craft` raises.

    Example:
        >>> import torch
        >>> import advdistill as ad
        >>> student, x, y = ad.models.create("convnet-2", 10, 1), torch.rand(8, 1, 8, 8), torch.arange(8)
        >>> attack = ad.Distiller("pgd_at", attack=ad.PGD(2, 0.1, ad.Linf(0.2)))
        >>> ad.update_bn(student, [(x, y)], attack)
        >>> int(student.bn1.num_batches_tracked)
        1
    """
    if images not in SAID:
        raise unknown("kind of images", images, SAID)
    if not batch_norms(network):
        return
    attacked, distiller = copied(network), _for_another_student(distiller)
    device = next(network.parameters()).device

    def shown() -> Iterator[Tensor]:
        for at, batch in enumerate(batches):
            if len(batch) != 2:
                raise ValueError(
                    f"update_bn takes pairs of images and labels; got a {type(batch).__name__} of {len(batch)}."
                )
            x, y = (one.to(device) for one in batch)
            rng = Rng(seed, "statistics", 0, at, device=device)
            yield from _of(images, distiller, attacked, x, y, rng=rng)

    estimated, count = _estimated(network, shown())
    if not count:
        raise ValueError("update_bn got no batch. A generator can be used once; give a list or a DataLoader.")
    for layer, new in zip(batch_norms(network), batch_norms(estimated), strict=True):
        layer.load_state_dict({**layer.state_dict(), **dict(new.named_buffers())})


def _of(
    kind: str, distiller: Distiller, attacked: nn.Module, x: Tensor, y: Tensor, **options: Any
) -> Iterator[Tensor]:
    """The images of a batch: adversarial, clean, or mixed, both; `options` are those of `Distiller.craft`."""
    if kind != "clean":
        yield distiller.craft(attacked, x, y, **options).x_adv
    if kind != "adversarial":
        yield x


def _estimated(network: nn.Module, images: Iterable[Tensor]) -> tuple[nn.Module, int]:
    """A copy whose batch-norm has the equal mean of the batches' statistics, and the number of batches."""
    estimated, count = copied(network).eval(), 0
    for layer in batch_norms(estimated):
        layer.reset_running_stats()
        layer.momentum = None  # an equal mean
        layer.train()
    for batch in images:
        with torch.no_grad():
            estimated(batch)
        count += 1
    return estimated, count


def _for_another_student(distiller: Distiller) -> Distiller:
    """A distiller that attacks other networks without forgetting the student's fast copy."""
    other = copy.copy(distiller)
    other._copies, other.compiled = distiller._copies.without("student"), False
    return other
