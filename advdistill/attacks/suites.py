"""The named attacks and suites of the literature, as data."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .._internal.messages import unknown
from .._internal.rng import Rng
from ..losses import Loss, cross_entropy, margin
from ..threat import L2, Threat
from .autoattack import AutoAttack
from .base import Attack
from .custom import PREFIX, as_attack, from_python
from .pgd import PGD
from .square import Square

__all__ = ["ATTACKS", "SUITES", "Clean", "PGDAttack", "attacks", "cw_30", "is_named", "named", "pgd", "pgd_20"]


TRADES_STEP = 0.003 / (8 / 255)  # step size, in units of eps


def cw_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin with confidence 50, which RSLAD and its successors call CW-inf; `[B]`."""
    return margin(logits, y, confidence=50.0)


def pgd(steps: int, threat: Threat) -> PGD:
    """Return PGD as evaluation runs it: step size eps / 4, uniform start.

    Args:
        steps: number of steps.
        threat: where x' may lie; its eps sets the step size.

    Returns:
        The attack, without an objective.
    """
    return PGD(steps, threat.eps / 4, threat, "uniform")


@dataclass(frozen=True)
class Clean(Attack):
    """No attack: x' is x."""

    name = "clean"
    perturbs = False
    climbs = False

    def describe(self, classes: int) -> str:
        return ""

    def stays_inside(self, threat: Threat) -> bool:
        return True

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        return x


@dataclass(frozen=True)
class PGDAttack(Attack):
    """PGD on a loss of the labels.

    Args:
        loss: the loss to increase, maps logits `[B, K]` and labels `[B]` to `[B]`.
        transferred: whether x' is searched for on a surrogate.
    """

    name: str
    pgd: PGD
    loss: Loss = cross_entropy
    transferred: bool = False

    def describe(self, classes: int) -> str:
        return f"{self.pgd}, {self.loss.__name__}"

    def stays_inside(self, threat: Threat) -> bool:
        return self.pgd.threat == threat

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        def objective(x_adv: Tensor) -> Tensor:
            logits = model(x_adv)
            if x_adv.requires_grad:
                steep = _scaled if isinstance(self.pgd.threat, L2) else _without_nan
                x_adv.register_hook(lambda gradient: gradient if gradient is None else steep(gradient))  # int8 has none
            return self.loss(logits, y)

        return self.pgd(objective, x, rng)


def _without_nan(gradient: Tensor) -> Tensor:
    """Replace NaN by zero, and infinite values by very large ones."""
    return gradient.nan_to_num(0)


def _scaled(gradient: Tensor) -> Tensor:
    """Scale each image's gradient to largest value 1, so that no sum of squares overflows or vanishes."""
    gradient = _without_nan(gradient)
    peak = gradient.abs().flatten(1).amax(1).clamp(min=torch.finfo(gradient.dtype).tiny)
    return gradient / peak[:, None, None, None]


def pgd_20(threat: Threat) -> PGDAttack:
    """Return `pgd` with 20 steps, on the cross-entropy.

    Args:
        threat: where x' may lie.

    Returns:
        The attack named `pgd-20`.
    """
    return PGDAttack("pgd-20", pgd(20, threat))


def cw_30(threat: Threat) -> PGDAttack:
    """Return PGD-30 with step size eps / 4, started at x, on the margin with confidence 50.

    Args:
        threat: where x' may lie.

    Returns:
        The attack named `cw-30`.
    """
    return PGDAttack("cw-30", PGD(30, threat.eps / 4, threat, "none"), cw_margin)


def _pgd_20_trades(threat: Threat) -> PGDAttack:
    return PGDAttack("pgd-20-trades", PGD(20, TRADES_STEP * threat.eps, threat, "uniform"))


def _transferred(attack: PGDAttack) -> PGDAttack:
    return replace(attack, name=f"transfer-{attack.name}", transferred=True)


ATTACKS: dict[str, Callable[[Threat], Attack]] = {
    "clean": lambda threat: Clean(),
    "fgsm": lambda threat: PGDAttack("fgsm", PGD(1, threat.eps, threat, "none")),
    "pgd-20": pgd_20,
    "pgd-20-trades": _pgd_20_trades,
    "cw-30": cw_30,
    "autoattack": AutoAttack,
    "square-100": Square,
    "transfer-pgd-20-trades": lambda threat: _transferred(_pgd_20_trades(threat)),
    "transfer-cw-30": lambda threat: _transferred(cw_30(threat)),
}

_PGD = re.compile(r"pgd-([1-9]\d{0,3})")  # with 1 to 9999 steps

SUITES = {
    "quick": ("clean", "fgsm", "pgd-20"),
    "paper": ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30"),
    "autoattack": ("clean", "autoattack"),
    "blackbox": ("clean", "square-100", "transfer-pgd-20-trades", "transfer-cw-30"),
    "full": ("clean", "fgsm", "pgd-20", "pgd-20-trades", "cw-30", "autoattack"),
}


def is_named(name: str) -> bool:
    """Return whether `named` accepts this name.

    Args:
        name: any text.

    Returns:
        Whether the name is in `ATTACKS` or is `pgd-N`.

    >>> is_named("pgd-7"), is_named("pgd-0")
    (True, False)
    """
    return name in ATTACKS or _PGD.fullmatch(name) is not None


def named(name: str, threat: Threat) -> Attack:
    """Return the attack of a name in `ATTACKS`, or `pgd-N`: PGD as in `pgd`, with N steps, 9999 at most.

    Args:
        name: a name for which `is_named` is true.
        threat: where x' may lie.

    Returns:
        The attack.

    >>> from advdistill import Linf
    >>> named("pgd-7", Linf("8/255")).describe(classes=10)
    'PGD-7, Linf 8/255, step 2/255, uniform start, cross_entropy'
    """
    if name in ATTACKS:
        return ATTACKS[name](threat)
    steps = _PGD.fullmatch(name)
    assert steps
    return PGDAttack(name, pgd(int(steps[1]), threat))


def attacks(wanted: str | Iterable[str | Attack | Callable[..., Tensor]], threat: Threat) -> list[Attack]:
    """Return attacks by the names of suites and attacks.

    Args:
        wanted: names of suites and attacks separated by commas, or a sequence of such names and of attacks. A name may
            also be `pgd-N` with N steps, or `python:my_module:my_attack` or `python:path/to/file.py:MyAttack`, see
            `custom.from_python`.
        threat: where the x' of named attacks may lie.

    Returns:
        The attacks in that order, each once.

    Raises:
        ValueError: an unknown or invalid name, or two different attacks with the same name.
        TypeError: an item is neither a name nor an attack.
        ImportError: one of the attacks needs a package that is missing.

    Example:
        >>> from advdistill import Linf
        >>> [attack.name for attack in attacks("quick, cw-30", Linf("8/255"))]
        ['clean', 'fgsm', 'pgd-20', 'cw-30']
    """
    found: list[Attack] = []
    for one in [wanted] if isinstance(wanted, str) else wanted:
        found += _named(one, threat) if isinstance(one, str) else [as_attack(one)]
    chosen = [attack for i, attack in enumerate(found) if attack not in found[:i]]
    for attack in chosen:
        _check_name(attack, chosen, threat)
        attack.check()
    return chosen


def _check_name(attack: Attack, chosen: list[Attack], threat: Threat) -> None:
    """Raise ValueError if an attack's name is malformed or taken: results and files are identified by it."""
    name, namesakes = attack.name, [other for other in chosen if other.name == attack.name]
    ours = [named(name, threat)] if is_named(name) else [attack]
    if not re.fullmatch(r"[\w-]+", name) or namesakes != [attack] or ours != [attack]:
        raise ValueError(
            f"Attack name {name!r} is invalid or already in use: use letters, digits, '-' and '_'. "
            f"Reserved: {', '.join(ATTACKS)}."
        )


def _named(names: str, threat: Threat) -> list[Attack]:
    found = [name for part in names.split(",") for name in SUITES.get(part.strip(), (part.strip(),))]
    for name in found:
        if not is_named(name) and not name.startswith(PREFIX):
            raise unknown("suite or attack", name, SUITES.keys() | ATTACKS.keys() | {"pgd-N"})
    return [
        named(name, threat) if is_named(name) else from_python(name.removeprefix(PREFIX), threat) for name in found
    ]
