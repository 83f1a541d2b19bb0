"""Levers, and what the papers share on natural images: Linf 8/255, ten steps of 2/255, crops, flips, SGD from 0.1."""

from ..attacks import PGD
from ..methods import Method
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf

__all__ = ["ATTACK", "setting", "three_attack_steps", "with_levers"]

ATTACK = PGD(10, "2/255", Linf("8/255"))


def setting(
    dataset: str, student: str, method: Method, epochs: int, milestones: tuple[int, ...], weight_decay: float
) -> Recipe:
    """SGD from 0.1 with momentum 0.9, a tenth after each milestone; batches of 128; crops of images padded by 4."""
    return Recipe(
        method=method,
        student=student,
        data=Data(dataset, augment="crop_flip"),
        attack=ATTACK,
        optimizer=SGD(lr=0.1, weight_decay=weight_decay),
        schedule=Schedule("multistep", milestones),
        epochs=epochs,
        batch_size=128,
        precision="auto",
    )


def with_levers(recipe: Recipe) -> Recipe:
    """Averaged weights, as Rade and Moosavi-Dezfooli (2022) have them, and adversarial statistics.

    The average brought ADR half a point (Wu et al., ICLR 2024). The statistics are right for averaged weights, too; on
    digits, without an average, they bring AdaAD + IGDM nothing, which tracks x' alone.
    """
    return recipe.replace(ema=0.995, ema_warmup=0.025, statistics="adversarial")


def three_attack_steps(recipe: Recipe, step_size: float, epochs: int) -> Recipe:
    """Three attack steps in place of ten and more epochs, adversarial statistics, the network of the last epoch.

    With as many passes it brought seven methods on digits 3.2 points under AutoAttack and 4.1 on clean images.
    """
    attack = PGD(steps=3, step_size=step_size, threat=recipe.attack.threat)
    return recipe.replace(attack=attack, epochs=epochs, statistics="adversarial", validate_every=epochs)
