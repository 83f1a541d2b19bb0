"""Robust accuracy as a function of eps. It must fall to zero; if it does not, the attack has failed."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from ..attacks.base import Report
from ..attacks.suites import pgd_20
from ..data import Given
from ..results.result import Measurement
from ..threat import L2, Linf, Threat, show_pixels
from .context import Context, silent
from .measure import measure
from .networks import EvaluatedModel, split_and_device

__all__ = ["robust_curve"]


def robust_curve(
    model: nn.Module,
    data: Given,
    epsilons: Iterable[float | str],
    threat: type[Linf] | type[L2] = Linf,
    *,
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
    report: Report | None = None,
) -> dict[float, Measurement]:
    """Measure the PGD-20 accuracy at several eps, in fp32 and eval mode; other arguments as in `evaluate`.

    Args:
        model: maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it is not modified.
        epsilons: in pixel units; text such as `"8/255"` is accepted.
        threat: the norm, `Linf` or `L2`.
        n: evaluate only the first n images.

    Returns:
        Measurements by eps, in the order given.

    Raises:
        ValueError: the model does not fit the split, n is larger than the split, or an eps is out of range.

    Example:
        >>> import advdistill as ad
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> list(robust_curve(model, test, [0, "51/255"], n=20))
        [0.0, 0.2]
    """
    split, device = split_and_device(model, data, device)
    context = Context(
        EvaluatedModel(model, split, device), split.first(n) if n is not None else split,
        seed=seed, batch_size=batch_size, device=device, report=report or silent,
    )  # fmt: skip

    def at(threat: Threat) -> Measurement:
        line = lambda said: context.report(f"eps {show_pixels(threat.eps)}, {said}")  # noqa: E731
        return measure(replace(context, threat=threat, report=line), pgd_20(threat))

    return {one.eps: at(one) for one in [threat(eps) for eps in epsilons]}
