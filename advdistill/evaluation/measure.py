"""One attack on one model: which images it still classifies correctly, batch by batch."""

import time
from datetime import timedelta

import torch
from torch import Tensor

from ..attacks.autoattack import AutoAttack, Report
from ..data import Split
from ..data.batches import in_order
from ..frozen import Frozen
from ..result import Measurement
from ..rng import Rng
from .accuracy import stands
from .judged import Judged
from .suites import Attack
from .verdicts import STANDS, Verdicts

__all__ = ["measure"]

QUIET = 10  # seconds between two reports of how far it is
# by which attack an image was broken (0: it was wrong before, 5: it stands), and how far x' is from x
NOTES = {"by": torch.uint8, "distance": torch.float32}


def measure(
    model: Judged,
    split: Split,
    attack: Attack,
    verdicts: Verdicts | None = None,
    *,
    searched: Frozen | None = None,
    batch_size: int,
    seed: int,
    device: torch.device | str,
    processes: tuple[int, int] = (0, 1),
    report: Report | None = None,
) -> Measurement:
    """Accuracy on the whole split; TF32 and nondeterministic convolutions are switched off meanwhile.

    The attack looks for x' on `searched`, where one is given and named with the settings; the model judges x'.

    Args:
        verdicts: taken in batch by batch; what is known already is not attacked again.
        processes: this one's number and how many there are; each takes its share of the batches.
    """
    verdicts, report = verdicts or Verdicts(len(split)), report or (lambda line: None)
    verdicts.begin(attack.name, NOTES if isinstance(attack.settings, AutoAttack) else {})
    rank, world = processes
    mine = range(0, len(split), batch_size)[rank::world]
    left = [start for start in mine if not verdicts.knows(attack.name, start, start + batch_size)]
    began = said = time.monotonic()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for done, (start, x, y) in enumerate(in_order(split, batch_size, device, left), 1):
            before = time.monotonic()
            standing, notes = _attacked(model, attack, searched, x, y, (seed, start), report)
            verdicts.put(attack.name, start, standing, notes, time.monotonic() - before)
            if done < len(left) and (now := time.monotonic()) - said > QUIET:
                report(_progress(attack.name, done, len(left), now - began))
                said = now
    if world > 1:
        verdicts.gather(attack.name, device)
    measured = _measurement(attack, searched, verdicts)
    report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {measured.seconds:.1f} s")
    return measured


def _attacked(
    model: Judged,
    attack: Attack,
    searched: Frozen | None,
    x: Tensor,
    y: Tensor,
    key: tuple[int, int],
    report: Report,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Which images of a batch stand, and the attack's notes; `key` is the seed and the batch's first image."""
    if not isinstance(attack.settings, AutoAttack):
        rng = Rng(key[0], "attack", key[1], device=x.device)
        return stands(model, x, y, attack.settings, attack.loss, searched, rng), {}
    x_adv, standing = attack.settings(
        model, x, y, searched=searched, seed=key[0], batch_size=len(x), device=x.device, report=report
    )
    table = torch.stack(list(standing.values()))
    by = (~table).int().argmax(0).masked_fill(table[-1], len(table))
    return table[-1], {"by": by.to(torch.uint8), "distance": attack.settings.threat.distance(x_adv, x)}


def _progress(name: str, done: int, batches: int, seconds: float) -> str:
    left = timedelta(seconds=round(seconds / done * (batches - done)))
    return f"{name}: batch {done} of {batches}, about {left} left"


def _measurement(attack: Attack, searched: Frozen | None, verdicts: Verdicts) -> Measurement:
    flags = verdicts.tensors[attack.name]
    settings = str(attack)
    if searched is not None and attack.settings is not None:
        settings += f", searched in {searched.precision}, judged in fp32"
    return Measurement(attack.name, settings, len(flags), int((flags == STANDS).sum()), verdicts.seconds(attack.name))
