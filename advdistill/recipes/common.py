"""What the papers share on natural images: Linf 8/255, ten steps of 2/255, crops and flips, SGD from 0.1."""

from ..attacks import PGD
from ..methods import Method
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf

__all__ = ["ATTACK", "setting", "with_levers"]

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

    The average brought ADR half a point (Wu et al., ICLR 2024); the statistics 2.7 points on digits, over five methods.
    """
    return recipe.replace(ema=0.995, ema_warmup=0.025, statistics="adversarial")
