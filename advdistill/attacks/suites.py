"""The named attacks and suites of the literature, as data."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from .._internal.messages import unknown
from ..losses import Loss, cross_entropy, margin
from ..threat import Threat
from . import PGD
from .autoattack import AutoAttack, FromLibrary
from .square import Square

__all__ = ["ATTACKS", "SUITES", "Attack", "attacks", "pgd"]


def cw_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The margin with confidence 50 that RSLAD and its successors call CW-inf; `[B]`."""
    return margin(logits, y, confidence=50.0)


def pgd(steps: int, threat: Threat) -> PGD:
    """PGD as evaluation runs it: steps of eps / 4 from a uniform start."""
    return PGD(steps, threat.eps / 4, threat, "uniform")


@dataclass(frozen=True)
class Attack:
    """A named attack.

    Args:
        settings: `None` for clean images.
        loss: what `PGD` climbs; AutoAttack and Square bring their own.
        transferred: whether x' is looked for on a surrogate.
    """

    name: str
    settings: PGD | AutoAttack | Square | None
    loss: Loss = cross_entropy
    transferred: bool = False

    def describe(self, classes: int) -> str:
        """The settings, as they are printed with results."""
        if self.settings is None:
            return ""
        if isinstance(self.settings, PGD):
            return f"{self.settings}, {self.loss.__name__}"
        return self.settings.describe(classes)


TRADES_STEP = 0.003 / (8 / 255)  # of eps

ATTACKS: dict[str, Callable[[Threat], Attack]] = {
    "clean": lambda threat: Attack("clean", None),
    "fgsm": lambda threat: Attack("fgsm", PGD(1, threat.eps, threat, "none")),
    "pgd-20": lambda threat: Attack("pgd-20", pgd(20, threat)),
    "pgd-20-trades": lambda threat: Attack("pgd-20-trades", PGD(20, TRADES_STEP * threat.eps, threat, "uniform")),
    "cw-30": lambda threat: Attack("cw-30", PGD(30, threat.eps / 4, threat, "none"), cw_margin),
    "autoattack": lambda threat: Attack("autoattack", AutoAttack(threat)),
    "square-100": lambda threat: Attack("square-100", Square(threat)),
    "transfer-pgd-20-trades": lambda threat: _transferred(ATTACKS["pgd-20-trades"](threat)),
    "transfer-cw-30": lambda threat: _transferred(ATTACKS["cw-30"](threat)),
}

SUITES = {
    "quick": ("clean", "fgsm", "pgd-20"),
    "paper": ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30"),
    "autoattack": ("clean", "autoattack"),
    "blackbox": ("clean", "square-100", "transfer-pgd-20-trades", "transfer-cw-30"),
    "full": ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30", "autoattack"),
}


def _transferred(attack: Attack) -> Attack:
    return replace(attack, name=f"transfer-{attack.name}", transferred=True)


def attacks(suite: str, threat: Threat) -> list[Attack]:
    """The attacks of a suite, or of several names of suites and attacks with commas between.

    Raises:
        ValueError: a name that is neither.
        ImportError: an attack of them needs pyautoattack, which is missing.
    """
    names = [name for part in suite.split(",") for name in SUITES.get(part.strip(), (part.strip(),))]
    for name in names:
        if name not in ATTACKS:
            raise unknown("suite or attack", name, SUITES.keys() | ATTACKS.keys())
    chosen = [ATTACKS[name](threat) for name in dict.fromkeys(names)]
    for attack in chosen:
        if isinstance(attack.settings, FromLibrary):
            attack.settings.check()
    return chosen
