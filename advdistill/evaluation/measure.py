"""Which images of a split a model still classifies correctly, clean or attacked."""

import time
from datetime import timedelta

import torch
from torch import Tensor, nn

from .._internal.rng import Rng
from ..attacks import PGD
from ..attacks.autoattack import AutoAttack, FromLibrary, Report
from ..attacks.suites import Attack
from ..data import Split
from ..data.batches import in_order, starts
from ..losses import Loss, cross_entropy
from ..results.files import AdversarialImages
from ..results.result import Measurement
from .networks import ITSELF, Judged, Searched
from .verdicts import STANDS, Verdicts

__all__ = ["correct", "judge", "measure"]



def correct(
    model: nn.Module,
    split: Split,
    attack: PGD | None = None,
    loss: Loss = cross_entropy,
    *,
    searched: nn.Module | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    processes: tuple[int, int] = (0, 1),
) -> Tensor:
    """`[N]` booleans on the CPU; fp32, eval mode, one attempt per image, judged on the attack's last iterate.

    Args:
        attack: `None` for clean images.
        loss: what the attack climbs, logits `[B, K]` and labels `[B]` to `[B]`.
        searched: whose loss the attack climbs, `None` for the model's own; the verdict is the model's either way.
        processes: this one's number and how many there are; each has the flags of its share of the batches alone.
    """
    flags = [torch.zeros(0, dtype=torch.bool)]
    for start, x, y in in_order(split, batch_size, device, starts(split, batch_size, processes)):
        rng = Rng(seed, "attack", start, device=device)
        flags.append(judge(model, x, y, attack, loss, searched, rng)[1].cpu())
    return torch.cat(flags)


def judge(
    model: nn.Module, x: Tensor, y: Tensor, attack: PGD | None, loss: Loss, searched: nn.Module | None, rng: Rng
) -> tuple[Tensor, Tensor]:
    """As `correct`, of one batch of images `[B, C, H, W]` in [0, 1] and labels `[B]`: x' and `[B]` booleans."""
    climbed = model if searched is None else searched
    if attack is not None:
        x = attack(lambda x_adv: loss(climbed(x_adv), y), x, rng)
    with torch.no_grad():
        return x, model(x).argmax(1) == y


QUIET = 10  # seconds between two reports of how far it is
# by which attack of AutoAttack an image was broken, and how far x' is from x
NOTES = {"by": torch.uint8, "distance": torch.float32}
BY = {"clean": 0, "apgd-ce": 1, "apgd-t": 2, "fab-t": 3, "square": 4, "none": 5, "apgd-dlr": 6}


def measure(
    model: Judged,
    split: Split,
    attack: Attack,
    verdicts: Verdicts | None = None,
    *,
    searched: Searched = ITSELF,
    batch_size: int,
    seed: int,
    device: torch.device | str,
    processes: tuple[int, int] = (0, 1),
    images: AdversarialImages | None = None,
    report: Report | None = None,
) -> Measurement:
    """Accuracy on the whole split; TF32 and nondeterministic convolutions are switched off meanwhile.

    The attack looks for x' on `searched`; the model judges x'.

    Args:
        verdicts: taken in batch by batch; what is known already is not attacked again.
        processes: this one's number and how many there are; each takes its share of the batches.
        images: where the x' of broken images are kept.
    """
    verdicts, report = verdicts or Verdicts(len(split)), report or (lambda line: None)
    verdicts.begin(attack.name, NOTES if isinstance(attack.settings, AutoAttack) else {})
    mine = starts(split, batch_size, processes)
    left = [start for start in mine if not verdicts.knows(attack.name, start, start + batch_size)]
    began = said = time.monotonic()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for done, (start, x, y) in enumerate(in_order(split, batch_size, device, left), 1):
            before = time.monotonic()
            x_adv, standing, notes = _attacked(model, attack, searched.network, x, y, (seed, start), report)
            if images is not None and attack.settings is not None:
                broken = ~standing & _right(model, x, y)
                images.put(attack.name, start, x_adv.cpu().numpy(), broken.cpu().numpy())
            verdicts.put(attack.name, start, standing, notes, time.monotonic() - before)
            if done < len(left) and (now := time.monotonic()) - said > QUIET:
                report(_progress(attack.name, done, len(left), now - began))
                said = now
    if processes[1] > 1:
        verdicts.gather(attack.name, device)
    settings = attack.describe(model.classes) + (searched.note if attack.settings else "")
    flags = verdicts.tensors[attack.name]
    right = int((flags == STANDS).sum())
    measured = Measurement(attack.name, settings, len(flags), right, verdicts.seconds(attack.name))
    report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {measured.seconds:.1f} s")
    return measured


def _attacked(
    model: Judged,
    attack: Attack,
    searched: nn.Module | None,
    x: Tensor,
    y: Tensor,
    key: tuple[int, int],
    report: Report,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """x', which images of a batch stand, and the attack's notes; `key` is the seed and the batch's first image."""
    if not isinstance(attack.settings, FromLibrary):
        rng = Rng(key[0], "attack", key[1], device=x.device)
        return *judge(model, x, y, attack.settings, attack.loss, searched, rng), {}
    x_adv, standing = attack.settings(
        model, x, y, searched=searched, seed=key[0], batch_size=len(x), device=x.device, report=report
    )
    if isinstance(standing, Tensor):
        return x_adv, standing, {}
    by = torch.full_like(y, BY["none"], dtype=torch.uint8)
    for name, left in reversed(standing.items()):
        by[~left] = BY[name]
    left = list(standing.values())[-1]
    return x_adv, left, {"by": by, "distance": attack.settings.threat.distance(x_adv, x)}


def _right(model: Judged, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def _progress(name: str, done: int, batches: int, seconds: float) -> str:
    left = timedelta(seconds=round(seconds / done * (batches - done)))
    return f"{name}: batch {done} of {batches}, about {left} left"
