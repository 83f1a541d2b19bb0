"""One attack on one model: how many images it still classifies correctly."""

import time

import torch
from torch import Tensor

from ..attacks.autoattack import AutoAttack, Report
from ..data import Split
from ..data.batches import to_float
from ..result import Measurement
from .accuracy import correct
from .judged import Judged
from .suites import Attack

__all__ = ["measure"]


def measure(
    model: Judged,
    split: Split,
    attack: Attack,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str,
    report: Report | None = None,
) -> Measurement:
    """Accuracy on the whole split; TF32 and nondeterministic convolutions are switched off meanwhile."""
    began = time.monotonic()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        flags = _flags(model, split, attack, batch_size=batch_size, seed=seed, device=device, report=report)
    seconds = round(time.monotonic() - began, 2)
    measured = Measurement(attack.name, str(attack), len(flags), int(flags.sum()), seconds)
    if report:
        report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {seconds:.1f} s")
    return measured


def _flags(model: Judged, split: Split, attack: Attack, report: Report | None, **settings) -> Tensor:
    if isinstance(attack.settings, AutoAttack):
        _, standing = attack.settings(model, to_float(split.images), split.labels, report=report, **settings)
        return list(standing.values())[-1]
    return correct(model, split, attack.settings, attack.loss, **settings)
