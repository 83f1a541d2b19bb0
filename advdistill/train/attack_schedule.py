"""The attack of each epoch: eps and step size that grow at first, numbers of steps that change."""

from dataclasses import replace

from ..attacks import PGD, CustomAttack
from ..recipe import Recipe
from .schedule import epochs_of

__all__ = ["attack_at"]


def attack_at(recipe: Recipe, attack: PGD | CustomAttack, epoch: int) -> PGD | CustomAttack:
    """The attack of an epoch, counted from 0; at the end it is the recipe's.

        eps_e  = eps min(1, (e + 1) / P),   P = eps_warmup in epochs       (Qin et al. 2019; no epoch is without attack)
        steps  = the entry of attack_steps_schedule for this part of the run

    The step size keeps its ratio to eps, and with other steps the length of the whole way, up to eps for a step; where
    a larger step is allowed, up to that.

    Args:
        attack: the recipe's, with start and student mode filled in.
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
