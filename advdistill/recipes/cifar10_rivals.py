"""CIFAR-10, Linf 8/255: what distillation is compared with, mostly without a robust teacher or with one attack step.

Each recipe has its paper's schedule and weight decay, and holds out a tenth of the training images to choose the
checkpoint. If a release cycles the momentum with the rate (0.9, 0.8 at the peak, 0.9), the recipe keeps it at 0.9.
"""

from ..attacks import PGD
from ..methods import ADR, AKD2, HAT, LBGAT, LIET, PGDAT, TRADES, AdaAD, AdaGAT, Method, NuAT
from ..recipe import SGD, Data, Recipe, Schedule
from ..threat import Linf
from .common import setting


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


def nuat_resnet18() -> Recipe:
    """NuAT with averaged weights, ResNet-18: one step of 8/255, batches of 64, 100 epochs, weight decay 5e-4.

    The rate climbs to 0.1 in 25 epochs and falls to 0 in 75; the nuclear norm's weight climbs to 4 over the run; the
    average has decay 0.9998. Published (Sriramanan et al., NeurIPS 2021, NuAT-WA): 82.21 clean, 50.75 AutoAttack v1.
    """
    attack = PGD(1, "8/255", Linf("8/255"))
    recipe = _cyclic(NuAT(nuclear_weight=4.0, ramp=1.0), attack, epochs=100, lr=0.1)
    return recipe.replace(student="resnet18", schedule=Schedule("onecycle", warmup=0.25), batch_size=64, ema=0.9998)


def liet_resnet18() -> Recipe:
    """LIET with averaged weights, ResNet-18: one step of 8/255, 100 epochs, weight decay 5e-4.

    The rate climbs to 0.1 in 30 epochs, then falls by a cosine that changes once an epoch; in the release the climb is
    a cosine, too. The average has decay 0.9995. The constants are those of the FastAT benchmark, which renews the label
    images every 20 batches; LIET's own release renews them every 10.
    Published (FastAT benchmark, mean of three seeds): 80.68 clean, 49.99 AutoAttack.
    """
    recipe = setting("cifar10", "resnet18", LIET(), 100, (), 5e-4)
    schedule = Schedule("cosine", (), warmup=0.3, by="epoch")
    return recipe.replace(attack=PGD(1, "8/255", Linf("8/255")), schedule=schedule, ema=0.9995)


def adr_resnet18() -> Recipe:
    """ADR on PGD-AT, ResNet-18: 200 epochs, /10 at 100 and 150, weight decay 5e-4, Nesterov momentum.

    With --ema 0.995 the average that acts as teacher is the network that is saved: the paper's ADR + WA.
    Published (Wu et al., ICLR 2024, README): 82.41 clean, 50.39 AutoAttack; averaged 82.59 and 50.86.
    """
    recipe = setting("cifar10", "resnet18", ADR(), 200, (100, 150), 5e-4)
    return recipe.replace(optimizer=SGD(lr=0.1, weight_decay=5e-4, nesterov=True))


def lbgat_resnet18() -> Recipe:
    """LBGAT0, ResNet-18 with a ResNet-18 guide: eps 0.031, step 0.007, 100 epochs, /10 at 75 and 90, weight decay 2e-4.

    The rate climbs in the first epoch; the release has 0.02 there, in a script for CIFAR-100 (LBGAT6, WRN-34-10).
    Published (Cui et al., ICCV 2021, README, WRN-34-10): 88.22 clean, 52.86 AutoAttack at 0.031.
    """
    return _guided(LBGAT(robust_weight=0.0))


def adagat_resnet18() -> Recipe:
    """AdaGAT (MSE), ResNet-18 with a ResNet-18 guide: as LBGAT, 100 epochs, /10 at 75 and 90, weight decay 2e-4."""
    return _guided(AdaGAT())


def hat_resnet18() -> Recipe:
    """HAT, ResNet-18: 50 epochs, rate to 0.21 in a quarter of them and by a cosine to 0, weight decay 5e-4, Nesterov.

    --clean-teacher must be a network trained on clean images. In the release the rate climbs by a cosine, too.
    Published (Rade and Moosavi-Dezfooli, ICLR 2022, README): 84.90 clean, 49.08 AutoAttack.
    """
    recipe = setting("cifar10", "resnet18", HAT(), 50, (), 5e-4)
    return recipe.replace(
        optimizer=SGD(lr=0.21, weight_decay=5e-4, nesterov=True), schedule=Schedule("cosine", warmup=0.25)
    )


def acat_resnet18() -> Recipe:
    """ACAT, ResNet-18: TRADES-AWP, beta 11, two steps of an eps that grows to 8/255 over 110 epochs, weight decay 5e-4.

    DAJAT (Addepalli et al., NeurIPS 2022) with only its base view. The rate falls from 0.2 by a cosine, here at every
    step, in the release once an epoch. Weight perturbation 0.005 from the tenth epoch on. The average of decay 0.9996
    begins with the training, in the release after epoch 82; weights before that are 2 % of the average at the end.
    Published (Addepalli et al., README): 82.41 clean, 49.80 AutoAttack.
    """
    recipe = setting("cifar10", "resnet18", TRADES(robust_weight=11.0), 110, (), 5e-4)
    return recipe.replace(
        attack=PGD(2, "8/255", Linf("8/255")), eps_warmup=110.0, awp=0.005, awp_begin=9.0, ema=0.9996,
        optimizer=SGD(lr=0.2, weight_decay=5e-4), schedule=Schedule("cosine", ()),
    )  # fmt: skip


def advfunmatch_resnet18() -> Recipe:
    """AdvFunMatch, ResNet-18: AdaAD on strongly augmented and mixed images; 200 epochs, weight decay 5e-4.

    Wu et al., arXiv:2305.14700: teacher and student get the same image. The paper's constants and figures were not
    found: schedule (/10 at 100 and 150) and weight decay are AdaAD's, TrivialAugment and mixup with parameter 1 are
    our choice. Give a robust --teacher.
    """
    recipe = setting("cifar10", "resnet18", AdaAD(), 200, (100, 150), 5e-4)
    return recipe.replace(data=Data("cifar10", augment="trivial_augment", mixup=1.0))


def akd2_resnet18() -> Recipe:
    """AKD2, ResNet-18: a fixed mix of a robust (0.6) and a standard teacher (0.1), temperature 2, as released.

    200 epochs, /10 at 50 and 150, weight decay 5e-4, weights averaged from epoch 55 on. Both teachers are ResNet-18 in
    the release: give --teacher and --clean-teacher.
    """
    method = AKD2(robust_weight=0.6, clean_weight=0.1, temperature=2.0)
    return setting("cifar10", "resnet18", method, 200, (50, 150), 5e-4).replace(swa=55)


def _guided(method: Method) -> Recipe:
    recipe = setting("cifar10", "resnet18", method, 100, (75, 90), 2e-4)
    return recipe.replace(attack=PGD(10, 0.007, Linf(0.031)), schedule=Schedule("multistep", (75, 90), warmup=1.0))


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
