"""8 x 8 digits from scikit-learn, Linf eps 0.2: minutes on a laptop. See `advdistill quickstart`."""

from ..attacks import PGD
from ..methods import (
    ABSLD,
    AKD2,
    ARD,
    BMTARD,
    CIARD,
    DGAD,
    IAD,
    IADII,
    IGDM,
    MART,
    MTARD,
    PGDAT,
    RSLAD,
    SAAD,
    TRADES,
    AdaAD,
    AdaIAD,
    FairARD,
    FairIAD,
    FairMTARD,
    FairRSLAD,
    Method,
    PeerAiD,
    Standard,
)  # fmt: skip
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf


def teacher() -> Recipe:
    """A robust teacher: convnet-24 by PGD-AT."""
    return _student(PGDAT()).replace(student="convnet-24", epochs=40)


def standard() -> Recipe:
    """Standard training: accurate, not robust."""
    return _student(Standard()).replace(select_by="clean")


def pgd_at() -> Recipe:
    """A small student without a teacher."""
    return _student(PGDAT())


def trades() -> Recipe:
    """A small student by TRADES, without a teacher."""
    return _student(TRADES())


def ard() -> Recipe:
    """A small student by ARD, alpha 0.8 and temperature 1; give --teacher."""
    return _student(ARD(distill_weight=0.8, temperature=1))


def mart() -> Recipe:
    """A small student by MART, without a teacher."""
    return _student(MART())


def akd2() -> Recipe:
    """A small student by AKD2; give --teacher and --clean-teacher."""
    return _student(AKD2())


def iad() -> Recipe:
    """A small student by IAD-I; give --teacher."""
    return _student(IAD())


def iad2() -> Recipe:
    """A small student by IAD-II; give --teacher and --clean-teacher."""
    return _student(IADII())


def adaiad() -> Recipe:
    """A small student by AdaIAD, temperature 1; give --teacher."""
    return _student(AdaIAD(temperature=1))


def mtard() -> Recipe:
    """A small student by MTARD; give --teacher and --clean-teacher."""
    return _student(MTARD())


def bmtard() -> Recipe:
    """A small student by B-MTARD; give --teacher and --clean-teacher."""
    return _student(BMTARD())


def dgad() -> Recipe:
    """A small student by DGAD; give --teacher."""
    return _student(DGAD())


def saad() -> Recipe:
    """A small student by SAAD; give --teacher."""
    return _student(SAAD())


def fair_ard() -> Recipe:
    """A small student by Fair-ARD, alpha 0.8 and temperature 1; give --teacher."""
    return _student(FairARD(distill_weight=0.8, temperature=1))


def fair_iad() -> Recipe:
    """A small student by Fair-IAD; give --teacher."""
    return _student(FairIAD())


def fair_rslad() -> Recipe:
    """A small student by Fair-RSLAD; give --teacher."""
    return _student(FairRSLAD())


def fair_mtard() -> Recipe:
    """A small student by Fair-MTARD; give --teacher and --clean-teacher."""
    return _student(FairMTARD())


def absld() -> Recipe:
    """A small student by ABSLD; give --teacher."""
    return _student(ABSLD())


def ciard() -> Recipe:
    """A small student by CIARD; give --teacher, which trains along, and --clean-teacher."""
    return _student(CIARD())


def peeraid() -> Recipe:
    """A small student by PeerAiD, temperature 1, with a peer of its own size and no teacher."""
    return _student(PeerAiD(temperature=1))


def rslad() -> Recipe:
    """A small student by RSLAD; give --teacher."""
    return _student(RSLAD())


def adaad() -> Recipe:
    """A small student by AdaAD; give --teacher."""
    return _student(AdaAD())


def adaad_igdm() -> Recipe:
    """A small student by AdaAD + IGDM; give --teacher."""
    return _student(AdaAD() + IGDM(weight=1))


def _student(method: Method) -> Recipe:
    return Recipe(
        method=method,
        student="convnet-4",
        data=Data("digits", augment="shift"),
        attack=PGD(steps=10, step_size=0.05, threat=Linf(0.2)),
        optimizer=SGD(lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=Schedule("onecycle", warmup=0.2),
        epochs=60,
        batch_size=64,
    )
