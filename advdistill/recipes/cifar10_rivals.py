"""CIFAR-10, Linf 8/255, without a robust teacher or at one step: what distillation is compared with.

Each has its paper's schedule and weight decay; every recipe holds out a tenth of the training images to choose the
checkpoint. Where a release cycles the momentum with the rate (0.9, 0.8 at the peak, 0.9), here it stays at 0.9.
"""

from ..attacks import PGD
from ..methods import PGDAT, Method
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf


def fgsm_rs_preact_resnet18() -> Recipe:
    """FGSM-RS: one step of 10/255 from a uniform start, 15 epochs, rate to 0.2 and back, weight decay 5e-4.

    The student is attacked in train mode. Published (Wong et al., ICLR 2020, README): 86.06 clean, 46.06 PGD-50-10.
    """
    attack = PGD(1, "10/255", Linf("8/255"), "uniform", "train", allow_step_above_eps=True)
    return _cyclic(PGDAT(), attack, epochs=15, lr=0.2)


def n_fgsm_preact_resnet18() -> Recipe:
    """N-FGSM: one step of 8/255 from noise in 2 eps, not projected, 30 epochs, rate to 0.2 and back, weight decay 5e-4.

    The student is attacked in train mode.
    """
    attack = PGD(1, "8/255", Linf("8/255"), "uniform", "train", start_radius=2, projected=False)
    return _cyclic(PGDAT(), attack, epochs=30, lr=0.2)


def _cyclic(method: Method, attack: PGD, epochs: int, lr: float) -> Recipe:
    """The rate climbs linearly until the middle of the run, and falls linearly to its end."""
    return Recipe(
        method=method,
        student="preact_resnet18",
        data=Data("cifar10", augment="crop_flip"),
        attack=attack,
        optimizer=SGD(lr=lr, weight_decay=5e-4),
        schedule=Schedule("onecycle", warmup=0.5),
        epochs=epochs,
        batch_size=128,
        precision="auto",
    )
