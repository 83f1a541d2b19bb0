"""Which images of a split a model still classifies correctly, clean or attacked."""

import time
from collections.abc import Mapping
from datetime import timedelta

import torch
from torch import Tensor, nn

from ..attacks.base import Attack, inside
from ..attacks.pgd import PGD
from ..attacks.suites import Clean, PGDAttack
from ..data import Split
from ..results.files import AdversarialImages
from ..results.result import Measurement
from .context import Context, exact
from .verdicts import CORRECT, Verdicts

__all__ = ["correct", "measure"]

QUIET = 10  # seconds between two reports of progress


def correct(
    model: nn.Module,
    split: Split,
    attack: PGD | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    processes: tuple[int, int] = (0, 1),
) -> Tensor:
    """Which images a model, as it is and where it is, classifies correctly, clean or attacked on its cross-entropy.

    Args:
        attack: `None` for clean images; one attempt per image, its last iterate counts.
        processes: this one's number and how many there are; each has the flags of its share of the batches alone.

    Returns:
        `[N]` booleans on the CPU.
    """
    context = Context(model, split, seed=seed, batch_size=batch_size, device=device, processes=processes)
    return context.correct(Clean() if attack is None else PGDAttack("pgd", attack))


def measure(
    context: Context, attack: Attack, verdicts: Verdicts | None = None, images: AdversarialImages | None = None
) -> Measurement:
    """Accuracy on the whole split under one attack; TF32 and nondeterministic convolutions are off meanwhile.

    Args:
        verdicts: extended batch by batch; what is known already is not attacked again.
        images: where the x' of broken images are saved.

    Raises:
        ValueError: the attack returns something else than images `[B, C, H, W]`.
    """
    verdicts = verdicts or Verdicts(len(context.split))
    verdicts.begin(attack.name, attack.notes)
    size = context.batch_size
    wanted = images if attack.perturbs else None  # its images may be missing where an earlier call did not save them
    missing = [
        start
        for start in context.starts()
        if not (verdicts.knows(attack.name, start, start + size) and (not wanted or wanted.has(attack.name, start)))
    ]
    began = said = time.monotonic()
    with exact():
        for done, (start, x, y) in enumerate(context.batches(missing), 1):
            before = time.monotonic()
            x_adv, right, notes = _attacked(context, attack, start, x, y)
            if images is not None and attack.perturbs:
                broken = ~right & context.right(x, y)
                images.put(attack.name, start, x_adv.cpu().numpy(), broken.cpu().numpy())
            verdicts.put(attack.name, start, right, notes, time.monotonic() - before)
            if done < len(missing) and (now := time.monotonic()) - said > QUIET:
                context.report(_progress(attack.name, done, len(missing), now - began))
                said = now
    if context.processes[1] > 1:
        verdicts.gather(attack.name, context.device)
    settings = attack.describe(context.split.num_classes) + context.attacked.note
    flags = verdicts.tensors[attack.name]
    count = int((flags == CORRECT).sum())
    measured = Measurement(attack.name, settings, len(flags), count, verdicts.seconds(attack.name))
    context.report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {measured.seconds:.1f} s")
    return measured


def _attacked(
    context: Context, attack: Attack, start: int, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """x', which of a batch are classified correctly there, `[B]` booleans, and the attack's notes.

    An x' outside the threat model is replaced by x.
    """
    found = context.attack(attack, start, x, y)
    x_adv, right = found.x_adv.detach(), found.correct
    if x_adv.shape != x.shape:
        raise ValueError(f"{attack.name} must return x' of shape {list(x.shape)}, it returns {list(x_adv.shape)}.")
    right = context.right(x_adv, y) if right is None else right
    near = inside(context.threat, x_adv, x)
    if not near.all():
        x_adv = torch.where(near[:, None, None, None], x_adv, x)
        right = torch.where(near, right, context.right(x, y))
    if attack.perturbs:
        right = right & context.right(x, y)  # x itself is an admissible x'
    return x_adv, right, found.notes


def _progress(name: str, done: int, batches: int, seconds: float) -> str:
    left = timedelta(seconds=round(seconds / done * (batches - done)))
    return f"{name}: batch {done} of {batches}, about {left} left"
