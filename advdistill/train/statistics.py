"""Re-estimate batch-norm statistics on chosen images, during training or for any network."""

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

DESCRIPTIONS = {"adversarial": "adversarial", "clean": "clean", "mixed": "clean and adversarial"}


def batches_used(recipe: Recipe, epoch: int) -> int:
    """Return the number of batches used for re-estimation; `epoch` is the number of batches in an epoch."""
    return min(epoch, ceil(recipe.statistics_images / recipe.batch_size))


def described(recipe: Recipe) -> str | None:
    """Describe the images that the statistics are re-estimated on; `None` if they are not re-estimated."""
    if recipe.statistics == "training":
        return None
    return f"{recipe.statistics_images} {DESCRIPTIONS[recipe.statistics]} training images"


class ReestimatedStatistics:
    """Batch-norm statistics as equal means over batches of augmented training images: clean, adversarial or both.

    x' is computed by the training attack on the network with its current statistics; the weights do not change. The
    batches depend only on (seed, epoch); several processes share the work, and all get the same statistics.
    """

    def __init__(self, recipe: Recipe, distiller: Distiller, train: Split | Loaded, fabric: "Fabric"):
        self.recipe, self.distiller, self.train, self.fabric = recipe, distiller, train, fabric

    def __call__(self, network: nn.Module, epoch: int) -> dict[str, Tensor]:
        """Return re-estimated running statistics by buffer name; empty if the network has no batch-norm.

        Args:
            network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it is not changed.
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
        """Yield this process's batches with their numbers; no batch is divided among processes."""
        recipe, fabric = self.recipe, self.fabric
        batches = batches_of(self.train, recipe.batch_size, recipe.data.augmentation, recipe.seed, fabric.device)
        number = batches_used(recipe, len(batches))
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # synchronised layers need as many batches in each
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
        """Average the statistics over the processes, weighted by each one's number of batches."""
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
    """Re-estimate a network's batch-norm statistics in place, as a recipe's `statistics` option does.

    Like `torch.optim.swa_utils.update_bn`, but on adversarial images, which the distiller's attack computes against
    the network with its previous statistics. Weights and modes do not change, nor does a network without batch-norm.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; trained in any way.
        batches: pairs of training images and labels `[B]`, on any device, augmented as in training. A recipe uses
            2,048 images by default.
        distiller: its attack computes x'; without a teacher, use `Distiller("pgd_at", attack=...)`.
        images: `adversarial`, `clean`, or `mixed`: both versions of each batch.
        seed: seed of the attack's random starts.

    Raises:
        ValueError: an unknown kind of images, no batches, a batch that is not a pair of images and labels, or what
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
    if images not in DESCRIPTIONS:
        raise unknown("kind of images", images, DESCRIPTIONS)
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
    """Yield adversarial, clean, or (`mixed`) both images of a batch; `options` are those of `Distiller.craft`."""
    if kind != "clean":
        yield distiller.craft(attacked, x, y, **options).x_adv
    if kind != "adversarial":
        yield x


def _estimated(network: nn.Module, images: Iterable[Tensor]) -> tuple[nn.Module, int]:
    """Return a copy whose batch-norm statistics are equal means over the batches, and the number of batches."""
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
    """Return a distiller to attack other networks; the original keeps its fast copy of the student."""
    other = copy.copy(distiller)
    other._copies, other.compiled = distiller._copies.without("student"), False
    return other
