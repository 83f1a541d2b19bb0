"""CIFAR-10, methods whose teacher trains along."""

from ..methods import CIARD, PeerAiD
from ..recipe import Recipe, Schedule
from .common import setting


def ciard_mobilenet_v2() -> Recipe:
    """CIARD, MobileNetV2: scale 0.1, 300 epochs, rate 0.1 until 150, then a cosine; weight decay 2e-4.

    Give --teacher (WRN-34-10 TRADES), which trains along from epoch 50 on, and --clean-teacher (ResNet-56). The best
    mean of clean and PGD accuracy is kept. The release multiplies the cosine by exp(-q^2 / 100), q from 0 to 1: at most
    1 % less. It cuts the temperatures' rate by 10 at every step from epoch 215 on; here it follows the schedule.
    """
    recipe = setting("cifar10", "mobilenet_v2", CIARD(scale=0.1), 300, (), weight_decay=2e-4)
    return recipe.replace(schedule=Schedule("cosine", hold=150), select_by="mean")


def peeraid_resnet18() -> Recipe:
    """PeerAiD, ResNet-18 and a peer like it: temperature 5, scale 0.1, 300 epochs, /10 at 214, 259, 284, no teacher.

    Weight decay 2e-4; the weights are averaged from the first decay on, which is what is kept.
    """
    method = PeerAiD(scale=0.1)
    return setting("cifar10", "resnet18", method, 300, (214, 259, 284), weight_decay=2e-4).replace(swa=214)
