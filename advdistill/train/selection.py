"""Which checkpoint is kept: accuracies on the held-out part, and what makes one better."""

from math import ceil

import torch
from torch import nn

from ..data import Split
from ..distiller import in_mode
from ..evaluation.accuracy import correct
from ..evaluation.suites import pgd
from ..threat import Threat

__all__ = ["accuracies", "better", "reason"]

BY = {"robust": "PGD-10 accuracy", "clean": "clean accuracy", "mean": "mean of clean and PGD-10 accuracy"}


def accuracies(model: nn.Module, split: Split, threat: Threat, seed: int, device: torch.device) -> dict[str, float]:
    """Clean and PGD-10 accuracy."""
    attack = pgd(10, threat)
    with in_mode(model, train=False):
        clean = correct(model, split, seed=seed, device=device)
        robust = correct(model, split, attack, seed=seed, device=device)
    return {"clean": clean.float().mean().item(), "robust": robust.float().mean().item()}


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
