"""Learning rate and attack as functions of the epochs done: stateless, so a resumed run gets the same values."""

import math
from dataclasses import replace

from ..attacks import PGD, CustomAttack
from ..recipe import Recipe, Schedule

__all__ = ["attack_at", "epochs_of", "rate"]


def rate(schedule: Schedule, done: float, epochs: int) -> float:
    """Return the factor on the learning rate after `done` (may be fractional) of `epochs` epochs."""
    top = epochs_of(schedule.warmup, epochs)
    if done < top:
        return (done + 1e-3) / (top + 1e-3)  # above 0 at the very first step
    match schedule.kind:
        case "constant":
            return 1.0
        case "multistep":
            passed = sum(done >= epochs_of(milestone, epochs) for milestone in schedule.milestones)
            return schedule.gamma**passed
        case "cosine":
            return (1 + math.cos(math.pi * _fallen(schedule, done, epochs))) / 2
        case "onecycle":
            return 1 - _fallen(schedule, done, epochs)


def _fallen(schedule: Schedule, done: float, epochs: int) -> float:
    """Return the fraction of the decay that is done; the decay begins after `warmup` and `hold`."""
    top = max(epochs_of(schedule.warmup, epochs), epochs_of(schedule.hold, epochs))
    done = done if schedule.by == "step" else min(math.floor(done) + 1, epochs)
    return max(0.0, done - top) / (epochs - top)


def epochs_of(length: float, epochs: int) -> float:
    """Convert a length of a schedule to epochs; below 1 it is a fraction of the run."""
    return length * epochs if length < 1 else length


def attack_at(recipe: Recipe, attack: PGD | CustomAttack, epoch: int) -> PGD | CustomAttack:
    """Return the attack of an epoch, counted from 0.

        eps_e  = eps min(1, (e + 1) / P),   P = eps_warmup in epochs       (Qin et al. 2019; eps > 0 in every epoch)
        steps  = the entry of attack_steps_schedule for this part of the run

    The step size keeps its ratio to eps. If the number of steps changes, steps * step size stays the same, except that
    the step size is at most eps, or that of `attack` if that is larger.

    Args:
        attack: the recipe's attack, with start and student mode filled in.
    """
    if isinstance(attack, CustomAttack):
        return attack
    threat, size, steps = attack.threat, attack.step_size, attack.steps
    if planned := recipe.attack_steps_schedule:
        steps = planned[min(len(planned) * epoch // recipe.epochs, len(planned) - 1)]
        size = min(max(threat.eps, size), size * attack.steps / steps)
    warm = epochs_of(recipe.eps_warmup, recipe.epochs)
    share = min(1.0, (epoch + 1) / warm) if warm else 1.0
    if share == 1 and steps == attack.steps:
        return attack
    return replace(attack, threat=replace(threat, eps=share * threat.eps), step_size=share * size, steps=steps)
