"""The best checkpoint of a run: chosen by accuracy on the images held out from training."""

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import models
from .._internal.modes import in_mode
from ..attacks.suites import pgd
from ..data import Split
from ..data.with_extra import WithExtra
from ..evaluation.measure import correct
from ..recipe import Recipe
from ..results.selection import Selection
from ..run import Run
from ..threat import Threat
from .distributed import reduced
from .parts import Parts
from .state import State
from .statistics import described

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["BestCheckpoint", "accuracies", "better"]



class BestCheckpoint:
    """A run's `best.safetensors`: when to validate, which of two checkpoints is better, what its header says.

    Args:
        parts: parts of the training; checkpoints are compared on the held-out images, and the header names the
            student's warm start.
        state: state of the run; the header names its changes of networks and data.
    """

    def __init__(self, recipe: Recipe, parts: Parts, run: Run, state: State):
        self.recipe, self.parts, self.run, self.state = recipe, parts, run, state
        self.split, self.fabric = parts.validation, parts.fabric
        self.extra = str(parts.train) if isinstance(parts.train, WithExtra) else None

    def due(self, epoch: int) -> bool:
        """Whether to validate after this epoch, counted from 1."""
        return epoch == self.recipe.epochs or epoch % self.recipe.validate_every == 0

    def figures(self, model: nn.Module) -> dict[str, float]:
        return accuracies(model, self.split, self.recipe.attack.threat, self.recipe.seed, self.fabric)

    def better(self, figures: dict[str, float], best: dict[str, float]) -> bool:
        return better(figures, best, self.recipe.select_by)

    def is_saved(self, epoch: int) -> bool:
        """Whether the saved file is the checkpoint of this epoch."""
        return self.run.best.exists() and self.run.chosen == self._header(epoch)["chosen"]

    def save(self, model: nn.Module, epoch: int) -> None:
        models.save(model, self.run.best, self._header(epoch))

    def _header(self, epoch: int) -> dict[str, str]:
        """Return the header, the only record of how the checkpoint of this epoch was chosen."""
        recipe = self.recipe
        among = ceil(recipe.epochs / recipe.validate_every)
        fingerprint, changed = self.split.fingerprint(), self.state.inputs.changed_before(epoch) or None
        chosen = Selection(recipe.select_by, len(self.split), fingerprint, among, epoch, recipe.epochs)
        chosen = replace(chosen, changed=changed, statistics=described(recipe), extra=self.extra)
        return replace(chosen, student_init=str(self.parts.warm_start) if self.parts.warm_start else None).to_header()


def accuracies(model: nn.Module, split: Split, threat: Threat, seed: int, fabric: "Fabric") -> dict[str, float]:
    """Return clean and PGD-10 accuracy as fractions. Each process evaluates some images; all return the same."""
    options: dict[str, Any] = {"seed": seed, "device": fabric.device}
    options["processes"] = fabric.global_rank, fabric.world_size
    with in_mode(model, train=False):
        mine = [correct(model, split, attack, **options).sum() for attack in (None, pgd(10, threat))]
    clean, robust = (reduced(fabric, torch.stack(mine), "sum") / len(split)).tolist()
    return {"clean": clean, "robust": robust}


def better(figures: dict[str, float], best: dict[str, float], by: str) -> bool:
    """Whether accuracies are better than the best so far, which is empty at first; `by` as in `Recipe.select_by`."""
    return not best or _rank(figures, by) > _rank(best, by)


def _rank(figures: dict[str, float], by: str) -> tuple[float, float]:
    clean, robust = figures["clean"], figures["robust"]
    return {"robust": (robust, clean), "clean": (clean, robust), "mean": (clean + robust, robust)}[by]
