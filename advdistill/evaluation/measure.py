"""Which images of a split a model still classifies correctly, clean or attacked."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import torch
from torch import Tensor, nn

from .._internal.adapter import Logits
from ..attacks.base import Attack, inside
from ..attacks.pgd import PGD
from ..attacks.suites import Clean, PGDAttack
from ..data import Split
from ..results.files import AdversarialImages
from ..results.result import Measurement
from .context import Context, exact
from .verdicts import CORRECT, Verdicts
from .watch import NO_GRADIENT

__all__ = ["correct", "measure", "try_on_two_images"]

QUIET = 10  # seconds between two reports of progress
UNSAVED = 30  # seconds after which verdicts are saved within a batch
OUTSIDE = "outside"  # note of attacks that may leave the threat model: 1 if x' is outside


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
    """Return which images a model classifies correctly, clean or under an attack on its cross-entropy.

    The model's mode and device are not changed. An image that is misclassified when clean counts as wrong under the
    attack.

    Args:
        attack: `None` for clean images. The attack runs once per image, and its last iterate counts.
        processes: this process's rank and the number of processes; each returns the flags of its own blocks only.

    Returns:
        `[N]` booleans on the CPU.
    """
    context = Context(Logits(model), split, seed=seed, batch_size=batch_size, device=device, processes=processes)
    clean = context.correct(Clean())
    return clean if attack is None else clean & context.correct(PGDAttack("pgd", attack))


def measure(
    context: Context, attack: Attack, verdicts: Verdicts | None = None, images: AdversarialImages | None = None
) -> Measurement:
    """Measure accuracy on the whole split under one attack, without TF32 and nondeterministic convolutions.

    An image that is misclassified when clean counts as wrong: x itself is an admissible x'.

    Args:
        verdicts: extended block by block. Blocks with known verdicts are not attacked again, and clean images are not
            classified again if verdicts of `clean` are known.
        images: where the x' of broken images are saved.

    Raises:
        ValueError: see `Context.attack`.
    """
    verdicts = verdicts or Verdicts(len(context.split))
    wanted = images if attack.perturbs else None  # they may be missing if an earlier call did not save them
    missing = _missing(context, attack, verdicts, wanted)
    began = said = saved = time.monotonic()
    with exact():
        for done, (start, x, y) in enumerate(context.batches(missing), 1):
            before = time.monotonic()
            clean = _clean(context, verdicts, start, x, y) if attack.perturbs else torch.ones_like(y, dtype=torch.bool)
            x_adv, right, notes = _attacked(context, attack, start, x, y)
            right = right & clean  # x itself is an admissible x'
            if images is not None and attack.perturbs:
                images.put(attack.name, start, x_adv.cpu().numpy(), (clean & ~right).cpu().numpy())
            now = time.monotonic()
            whole = done % max(1, context.batch_size // context.block) == 0 or done == len(missing)
            if save := whole or now - saved > UNSAVED:
                saved = now
            verdicts.put(attack.name, start, right, notes, now - before, save)
            if done < len(missing) and now - said > QUIET:
                context.report(_progress(attack.name, done, len(missing), now - began))
                said = now
    if context.processes[1] > 1:
        verdicts.gather(attack.name, context.device)
    settings = attack.describe(context.split.num_classes) + context.attacked.note
    flags = verdicts.tensors[attack.name]
    count, outside = int((flags == CORRECT).sum()), verdicts.count(attack.name, OUTSIDE) or 0
    measured = Measurement(
        attack.name, settings, len(flags), count, verdicts.seconds(attack.name), outside,
        verdicts.count(attack.name, NO_GRADIENT),
    )  # fmt: skip
    context.report(f"{attack.name}: {measured.accuracy:.1%} of {measured.n} images, {measured.seconds:.1f} s")
    if measured.remark:
        context.report(f"{attack.name}: {measured.remark} ({context.threat})")
    return measured


def try_on_two_images(context: Context, attack: Attack, verdicts: Verdicts) -> None:
    """Attack the split's first two images, if any verdicts of the attack are missing; nothing is saved.

    Raises:
        ValueError: see `Context.attack`; raised before time is spent on other attacks.
    """
    if not _missing(context, attack, verdicts):
        return
    with exact():
        _, x, y = next(replace(context, split=context.split.first(min(2, len(context.split)))).batches([0]))
        x_adv = context.attack(attack, 0, x, y).x_adv
    if not inside(context.threat, x_adv, x).any():
        far = context.threat.distance(x_adv, x).max().item()
        context.report(
            f"{attack.name}: its first x' are all outside {context.threat} or [0, 1], up to {far:.3g} from x, and such "
            "an x' breaks nothing. Does the attack have the evaluation's eps?"
        )


def _missing(
    context: Context, attack: Attack, verdicts: Verdicts, images: AdversarialImages | None = None
) -> list[int]:
    """Return the starts of this process's blocks whose verdicts, or whose images to be saved, are missing."""
    counted = {} if attack.stays_inside(context.threat) else {OUTSIDE: torch.uint8}
    climbed = {NO_GRADIENT: torch.uint8} if attack.climbs else {}
    verdicts.begin(attack.name, {**attack.notes, **counted, **climbed})
    size = context.block
    return [
        start
        for start in context.starts()
        if not (verdicts.knows(attack.name, start, start + size) and (not images or images.has(attack.name, start)))
    ]


def _clean(context: Context, verdicts: Verdicts, start: int, x: Tensor, y: Tensor) -> Tensor:
    """Return which images of a block are classified correctly when clean, `[B]` booleans."""
    known = verdicts.tensors.get("clean")
    if known is None or not verdicts.knows("clean", start, start + len(x)):
        return context.right(x, y)
    return (known[start : start + len(x)] == CORRECT).to(x.device)


def _attacked(
    context: Context, attack: Attack, start: int, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Return x', which of them are classified correctly, `[B]` booleans, and the attack's notes.

    An x' outside the threat model is replaced by x.
    """
    found = context.attack(attack, start, x, y)
    x_adv, known = found.x_adv, attack.stays_inside(context.threat)
    right = context.right(x_adv, y) if found.correct is None or not known else found.correct
    near = inside(context.threat, x_adv, x)
    if not near.all():
        x_adv = torch.where(near[:, None, None, None], x_adv, x)
        right = torch.where(near, right, context.right(x, y))
    return x_adv, right, found.notes if known else {**found.notes, OUTSIDE: ~near}


def _progress(name: str, done: int, batches: int, seconds: float) -> str:
    left = timedelta(seconds=round(seconds / done * (batches - done)))
    return f"{name}: batch {done} of {batches}, about {left} left"
