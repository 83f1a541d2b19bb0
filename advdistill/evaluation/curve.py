"""Robust accuracy against eps. It must fall to zero: where it does not, the attack fails, not the model."""

from collections.abc import Iterable

import torch
from torch import nn

from ..attacks.autoattack import Report
from ..attacks.suites import ATTACKS
from ..data import Split
from ..results.result import Measurement
from ..threat import Linf, Threat, show_pixels
from .measure import measure
from .networks import Judged

__all__ = ["robust_curve"]


def robust_curve(
    model: nn.Module,
    split: Split,
    epsilons: Iterable[float | str],
    threat: type[Threat] = Linf,
    *,
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> dict[float, Measurement]:
    """PGD-20 measurements by eps; arguments and errors otherwise as in `evaluate`."""
    used, judged = split.first(n) if n is not None else split, Judged(model, split, device)
    say = report or (lambda line: None)

    def at(t: Threat) -> Measurement:
        line = lambda said: say(f"eps {show_pixels(t.eps)}, {said}")  # noqa: E731
        return measure(judged, used, ATTACKS["pgd-20"](t), batch_size=batch_size, seed=seed, device=device, report=line)

    return {t.eps: at(t) for t in (threat(eps) for eps in epsilons)}
