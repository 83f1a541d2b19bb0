"""One attack on one model: how many images it still classifies correctly."""

import time

import torch
from torch import Tensor

from ..attacks.autoattack import AutoAttack, Report
from ..data import Split
from ..data.batches import to_float
from ..frozen import Frozen
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
    searched: Frozen | None = None,
    batch_size: int,
    seed: int,
    device: torch.device | str,
    report: Report | None = None,
) -> Measurement:
    """Accuracy on the whole split; TF32 and nondeterministic convolutions are switched off meanwhile.

    The attack looks for x' on `searched`, where one is given and named with the settings; the model judges x'.
    """
    began = time.monotonic()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        flags = _flags(model, split, attack, report, searched=searched, batch_size=batch_size, seed=seed, device=device)
    seconds = round(time.monotonic() - began, 2)
    measured = Measurement(attack.name, _settings(attack, searched), len(flags), int(flags.sum()), seconds)
    if report:
        report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {seconds:.1f} s")
    return measured


def _settings(attack: Attack, searched: Frozen | None) -> str:
    if searched is None or attack.settings is None:
        return str(attack)
    return f"{attack}, searched in {searched.precision}, judged in fp32"


def _flags(model: Judged, split: Split, attack: Attack, report: Report | None, **settings) -> Tensor:
    if isinstance(attack.settings, AutoAttack):
        _, standing = attack.settings(model, to_float(split.images), split.labels, report=report, **settings)
        return list(standing.values())[-1]
    return correct(model, split, attack.settings, attack.loss, **settings)
