"""Robust accuracy against eps. It must fall to zero: where it does not, the attack fails, not the model."""

from collections.abc import Iterable

import torch
from torch import nn

from ..data import Split
from ..result import Measurement
from ..threat import Linf, Pixels, Threat
from .judged import Judged
from .measure import measure
from .suites import ATTACKS

__all__ = ["robust_curve"]


def robust_curve(
    model: nn.Module,
    split: Split,
    epsilons: Iterable[Pixels],
    threat: type[Threat] = Linf,
    *,
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[float, Measurement]:
    """PGD-20 measurements by eps; arguments and errors otherwise as in `evaluate`."""
    used, judged = split.first(n) if n is not None else split, Judged(model, split, device)
    settings = {"batch_size": batch_size, "seed": seed, "device": device}
    return {t.eps: measure(judged, used, ATTACKS["pgd-20"](t), **settings) for t in map(threat, epsilons)}
