"""Compute a batch's x': by `craft`, or by cheaper attacks that start at the last x' or stop image by image."""

from dataclasses import replace

import torch
from torch import Tensor

from ..acceleration.teacher_extrapolation import Extrapolated
from ..attacks.pgd import PGD
from ..attacks.training import OnBatch
from .batch import Batch
from .memo import memo
from .method import Method, Objective
from .networks import Features, Network

__all__ = ["check_attack", "compute_x_adv", "extrapolated", "is_cheaper", "remember_last"]

LAST = "last x_adv"  # name in `Memory.state`
LEVELS = 127  # int8 steps per eps, in each direction


def is_cheaper(attack: object) -> bool:
    """Whether an attack starts at each image's last x', or stops image by image."""
    return isinstance(attack, PGD) and (attack.start == "last" or attack.stop_after is not None)


def check_attack(method: Method, attack: object, compiled: bool = False, teacher_every: int | None = None) -> None:
    """Raise ValueError if the attack's `start` or `stop_after` does not fit the method or the other options."""
    if not (isinstance(attack, PGD) and is_cheaper(attack)):
        return
    name = type(method.parts[0]).__name__
    what = "start='last'" if attack.start == "last" else f"stop_after={attack.stop_after}"
    if method.has_own_craft:
        raise ValueError(f"{name} makes its x' by itself, so that {what} would have no effect. Leave it out.")
    if attack.stop_after is not None and attack.student_mode == "train":
        raise ValueError(
            f"stop_after={attack.stop_after} takes images out of the attack one by one, which in train mode changes "
            "the batch-norm of the others. Set student_mode='eval', or leave stop_after out."
        )
    if attack.stop_after is not None and teacher_every is not None:
        raise ValueError(
            f"stop_after={attack.stop_after} and teacher_every={teacher_every} both shorten the attack; choose one."
        )
    if attack.stop_after is not None and compiled:
        raise ValueError(
            f"stop_after={attack.stop_after} changes the number of images from step to step, for each of which a "
            "compiled network is compiled again. Leave out compile, or stop_after."
        )


def compute_x_adv(method: Method, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
    """Return the x' of a batch for every kind of attack; arguments and result as in `method.craft`."""
    if not (isinstance(attack, PGD) and is_cheaper(attack)):
        return method.craft(batch, attack)
    start = _last(method, batch, attack) if attack.start == "last" else attack.begin(batch.x, batch.rng)
    if attack.stop_after is not None:
        return _stopped(method, batch, attack, start)
    objective = method.inner(batch)
    return batch.x if objective is None else attack.climb(objective, batch.x, start)


def extrapolated(batch: Batch, roles: set[str], every: int | None) -> Batch:
    """Return the batch for the attack; with `every`, teachers of these roles are extrapolated between their runs."""
    if every is None:
        return batch
    return replace(batch, teachers=batch.teachers | {r: Extrapolated(batch.teachers[r], every) for r in roles})


def remember_last(method: Method, attack: object, batch: Batch) -> None:
    """Store x' - x of each image in int8 steps of eps / 127, if the attack starts from the last x'."""
    if isinstance(attack, PGD) and attack.start == "last":
        steps = (batch.x_adv - batch.x) * (LEVELS / max(batch.threat.eps, 1e-12))  # the current eps of a schedule
        method.parts[0].remember(batch, LAST, steps.round().clamp(-LEVELS, LEVELS).to(torch.int8))


def _last(method: Method, batch: Batch, attack: PGD) -> Tensor:
    """Return each image's last x', `[B, C, H, W]`; for an image's first time, a point drawn uniformly in the ball."""
    unit = attack.threat.eps / LEVELS
    first = (attack.threat.sample(batch.x, batch.rng) / max(unit, 1e-12)).round().to(torch.int8)
    steps = method.parts[0].recall(batch, LAST, first)
    return attack.threat.project(batch.x + unit * steps, batch.x)


class _LogitsRecorder:
    """A network that stores its logits at the attack's current iterate."""

    def __init__(self, network: Network):
        self.network, self.logits = network, torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        if x.requires_grad:
            self.logits = logits.detach()
        return logits


def _stopped(method: Method, batch: Batch, attack: PGD, x_adv: Tensor) -> Tensor:
    """Attack from x' `[B, C, H, W]`; each image stops `stop_after` steps after its first misclassification."""
    network = memo(batch.student).network
    seen = _LogitsRecorder(network.network if isinstance(network, Features) else network)
    watched = Features(seen, network.layers) if isinstance(network, Features) else seen
    part = replace(batch, student=watched, total=_refuse_total)
    objective = method.inner(part)
    if objective is None:
        return batch.x
    x_adv, rows = x_adv.clone(), torch.arange(len(batch.x), device=batch.x.device)
    left = torch.full_like(rows, attack.stop_after or 0)
    for _ in range(attack.steps):
        leaf, noted = x_adv[rows].requires_grad_(), _noted(part)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(leaf).sum(), leaf)
        if _noted(part) != noted:
            raise ValueError(
                f"{type(method.parts[0]).__name__} notes something of every image at every step of the attack, so that "
                "none may end before the others. Leave out stop_after."
            )
        wrong = seen.logits.argmax(1) != part.y
        going = ~(wrong & (left[rows] == 0))
        left[rows] -= wrong.long()
        x_adv[rows[going]] = attack.advanced(leaf.detach()[going], gradient[going], part.x[going])
        if not going.all():
            rows = rows[going]
            if not len(rows):
                break
            objective = _objective(method, part := part.taken(going))
    return x_adv


def _objective(method: Method, part: Batch) -> Objective:
    objective = method.inner(part)
    assert objective is not None  # checked for the whole batch before
    return objective


def _noted(batch: Batch) -> dict[str, tuple[int, int]]:
    """Return values that change when a method writes a note."""
    return {name: (id(note), note._version) for name, note in batch.notes.items()}


def _refuse_total(values: Tensor) -> Tensor:
    raise ValueError(
        "The method's attack needs a sum over all images of the batch, which are not all attacked to the end. Leave "
        "out stop_after."
    )
