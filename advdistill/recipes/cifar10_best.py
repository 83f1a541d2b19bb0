"""CIFAR-10, Linf 8/255: the published recipe that is ahead of the others for its student, with levers around it.

Each docstring cites what speaks for the method, `with_levers` what speaks for the levers; no recipe was run whole.
"""

from ..methods import ADR
from ..recipe import Recipe
from . import cifar10, cifar10_mobilenet, cifar10_rivals
from .common import with_levers


def best_resnet18() -> Recipe:
    """AdaAD + IGDM, ResNet-18, with averaged weights and adversarial statistics; give --teacher.

    Ahead of fourteen others in Lee, Cho and Kim (ICLR 2025, table 3): 84.83 clean, 54.02 AutoAttack, teacher
    robustbench:Chen2021LTD_WRN34_10, without the levers.
    """
    return with_levers(cifar10.adaad_igdm_resnet18())


def best_mobilenet_v2() -> Recipe:
    """AdaAD + IGDM, MobileNetV2, with averaged weights and adversarial statistics; give --teacher.

    Ahead of fourteen others in Lee, Cho and Kim (ICLR 2025, table 11): 84.27 clean, 52.15 AutoAttack, teacher
    robustbench:Chen2021LTD_WRN34_10, without the levers.
    """
    return with_levers(cifar10_mobilenet.adaad_igdm_mobilenet_v2())


def best_without_teacher() -> Recipe:
    """ADR with averaged and perturbed weights, ResNet-18; no teacher.

    Published (Wu et al., ICLR 2024, README): 83.26 clean, 51.24 AutoAttack; their perturbation is without a proxy.
    """
    method = ADR(last_temperature=1.5, last_trust=0.85)
    return cifar10_rivals.adr_resnet18().replace(method=method, ema=0.995, awp=0.005)
