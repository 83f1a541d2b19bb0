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
    attack: str = "pgd-20",
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[float, Measurement]:
    """One attack's measurements by eps; arguments and errors otherwise as in `evaluate`."""
    used, judged = split.first(n) if n is not None else split, Judged(model, split, device)
    threats = [threat(eps) for eps in epsilons]
    return {
        t.eps: measure(
            judged, used, ATTACKS[attack](t), batch_size=batch_size, seed=seed, device=device, report=lambda line: None
        )
        for t in threats
    }
