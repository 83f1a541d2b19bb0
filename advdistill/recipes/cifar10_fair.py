"""CIFAR-10, ResNet-18, methods that look at each class: as the recipe of the method they weigh. Give --teacher.

The releases of the Fair-ARD family keep every epoch; here a held-out tenth of the training images chooses.
"""

from ..methods import ABSLD, FairARD, FairIAD, FairMTARD, FairRSLAD
from ..recipe import SGD, Recipe
from . import cifar10


def fair_ard_resnet18() -> Recipe:
    """Fair-ARD, ResNet-18: as ARD (temperature 30, scale 0.1, 200 epochs, /10 at 100), with Nesterov momentum."""
    return _nesterov(cifar10.ard_resnet18().replace(method=FairARD(scale=0.1)))


def fair_iad_resnet18() -> Recipe:
    """Fair-IAD, ResNet-18: as IAD-I (200 epochs, /10 at 100, begins at 60), with Nesterov momentum."""
    return _nesterov(cifar10.iad_resnet18().replace(method=FairIAD()))


def fair_rslad_resnet18() -> Recipe:
    """Fair-RSLAD, ResNet-18: as RSLAD (scale 0.1, 300 epochs, /10 at 215, 260, 285), with Nesterov momentum."""
    return _nesterov(cifar10.rslad_resnet18().replace(method=FairRSLAD(scale=0.1)))


def fair_mtard_resnet18() -> Recipe:
    """Fair-MTARD, ResNet-18: as MTARD, with Nesterov momentum. Give --clean-teacher, too.

    Its clean branch learns from the clean teacher; in the release, from the robust one by mistake.
    """
    return _nesterov(cifar10.mtard_resnet18().replace(method=FairMTARD(scale=0.1)))


def absld_resnet18() -> Recipe:
    """ABSLD, ResNet-18: as RSLAD (scale 0.1, 300 epochs, /10 at 215, 260, 285), class temperatures moved by 0.1.

    The release chooses by PGD-20 or by robust and worst-class accuracy on the test set.
    """
    return cifar10.rslad_resnet18().replace(method=ABSLD(scale=0.1))


def _nesterov(recipe: Recipe) -> Recipe:
    return recipe.replace(optimizer=SGD(lr=0.1, weight_decay=recipe.optimizer.weight_decay, nesterov=True))
