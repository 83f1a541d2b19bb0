"""Fashion-MNIST, Linf 0.1, 28 x 28 grey images: a ResNet-8 on two processor cores, taught by a ResNet-20.

All recipes have the methods' default coefficients, except for B-MTARD's temperature rate, and the same short setting,
which is from no paper.
"""

from ..attacks import PGD
from ..methods import BMTARD, LIET, PGDAT, RSLAD, TRADES, AdaAD, Method, Standard
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf


def teacher() -> Recipe:
    """A robust teacher: ResNet-20 by N-FGSM, one attack step of size eps from noise in 2 eps."""
    attack = PGD(1, 0.1, Linf(0.1), "uniform", "train", start_radius=2, projected=False)
    return _student(PGDAT()).replace(student="resnet20", attack=attack)


def standard() -> Recipe:
    """Standard training: accurate, not robust; with --student resnet20 the clean teacher."""
    return _student(Standard()).replace(select_by="clean")


def pgd_at() -> Recipe:
    """PGD-AT; no teacher."""
    return _student(PGDAT())


def trades() -> Recipe:
    """TRADES; no teacher."""
    return _student(TRADES())


def liet() -> Recipe:
    """LIET: one attack step, 37 epochs, as many passes as ten epochs of PGD-AT; no teacher."""
    return _student(LIET()).replace(attack=PGD(1, 0.1, Linf(0.1)), epochs=37)


def rslad() -> Recipe:
    """RSLAD; give --teacher."""
    return _student(RSLAD())


def adaad() -> Recipe:
    """AdaAD, running the teacher at every fifth attack step only; give --teacher."""
    return _student(AdaAD()).replace(teacher_every=5)


def bmtard() -> Recipe:
    """B-MTARD, temperature rate 0.01; give --teacher and --clean-teacher."""
    return _student(BMTARD(temperature_rate=0.01))


def _student(method: Method) -> Recipe:
    return Recipe(
        method=method,
        student="resnet8",
        data=Data("fashion_mnist", validation=0.02, augment="shift"),
        attack=PGD(10, 0.025, Linf(0.1)),
        optimizer=SGD(lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=Schedule("onecycle", warmup=0.2),
        epochs=10,
        batch_size=64,
    )
