"""Which checkpoint is kept: accuracies on the held-out part, and what makes one better."""

from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import models
from .._internal.modes import in_mode
from ..attacks.suites import pgd
from ..data import Split
from ..evaluation.measure import correct
from ..recipe import Recipe
from ..run import Run
from ..threat import Threat
from .distributed import reduced

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Selection", "accuracies", "better", "reason"]

BY = {"robust": "PGD-10 accuracy", "clean": "clean accuracy", "mean": "mean of clean and PGD-10 accuracy"}


class Selection:
    """The recipe's choice among a run's checkpoints.

    Args:
        split: held out from training.
    """

    def __init__(self, recipe: Recipe, split: Split, run: Run, fabric: "Fabric"):
        self.recipe, self.split, self.run, self.fabric = recipe, split, run, fabric

    def due(self, epoch: int) -> bool:
        """Whether the checkpoint after this epoch, counted from 1, is one to choose from."""
        return epoch == self.recipe.epochs or epoch % self.recipe.validate_every == 0

    def figures(self, model: nn.Module) -> dict[str, float]:
        return accuracies(model, self.split, self.recipe.attack.threat, self.recipe.seed, self.fabric)

    def better(self, figures: dict[str, float], best: dict[str, float]) -> bool:
        return better(figures, best, self.recipe.select_by)

    def kept(self, epoch: int) -> bool:
        """Whether the best checkpoint on disk is that of this epoch."""
        return self.run.best.exists() and self.run.chosen == self._reason(epoch)

    def keep(self, model: nn.Module, epoch: int) -> None:
        header = {"chosen": self._reason(epoch), "chosen_on": self.split.fingerprint()}
        models.save(model, self.run.best, header)

    def _reason(self, epoch: int) -> str:
        recipe = self.recipe
        return reason(recipe.select_by, len(self.split), epoch, recipe.epochs, recipe.validate_every)


def accuracies(model: nn.Module, split: Split, threat: Threat, seed: int, fabric: "Fabric") -> dict[str, float]:
    """Clean and PGD-10 accuracy; the processes share the images, and all return the same."""
    options: dict[str, Any] = {"seed": seed, "device": fabric.device}
    options["processes"] = fabric.global_rank, fabric.world_size
    with in_mode(model, train=False):
        mine = [correct(model, split, attack, **options).sum() for attack in (None, pgd(10, threat))]
    clean, robust = (reduced(fabric, torch.stack(mine), "sum") / len(split)).tolist()
    return {"clean": clean, "robust": robust}


def better(figures: dict[str, float], best: dict[str, float], by: str) -> bool:
    """Whether accuracies beat the best so far, of which there may be none."""
    return not best or _rank(figures, by) > _rank(best, by)


def _rank(figures: dict[str, float], by: str) -> tuple[float, float]:
    clean, robust = figures["clean"], figures["robust"]
    return {"robust": (robust, clean), "clean": (clean, robust), "mean": (clean + robust, robust)}[by]


def reason(by: str, images: int, epoch: int, epochs: int, every: int) -> str:
    """How a checkpoint was chosen, a sentence for its header."""
    among = f"among {ceil(epochs / every)} checkpoints"
    return f"best {BY[by]} on {images} held-out training images {among}, epoch {epoch} of {epochs}"
