"""Adapters for attacks of Foolbox and torchattacks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.packages import require
from .._internal.rng import Rng, seeded
from ..threat import L2, Linf, Threat, pixels
from .base import Attack
from .settings import described, plain

__all__ = ["FoolboxAttack", "TorchAttack", "foolbox", "torchattacks"]


def foolbox(attack: Any, threat: Threat | float | str, name: str | None = None) -> "FoolboxAttack":
    """Wrap an untargeted attack of Foolbox; its random numbers, also global ones, follow from the evaluation's seed.

    Args:
        attack: an instance, such as `foolbox.attacks.LinfPGD(steps=20)`.
        threat: eps, or a threat model with the attack's norm. Foolbox clips x' to it; an attack that searches for the
            smallest perturbation breaks an image if that perturbation is at most eps.
        name: name in results; `None` is "foolbox-" and the name of the attack's class.

    Raises:
        ImportError: foolbox is missing.
        TypeError: not an attack of Foolbox.
        ValueError: the attack's norm is not the threat model's.

    Example:
        >>> import foolbox as fb
        >>> import advdistill as ad
        >>> attack = ad.attacks.foolbox(fb.attacks.LinfDeepFoolAttack(steps=10), ad.Linf("8/255"), name="deepfool")
        >>> attack.describe(10).split("(")[0], attack.eps * 255
        ('LinfDeepFoolAttack', 8.0)
    """
    library = require("foolbox", "ad.attacks.foolbox", "foolbox")
    if not isinstance(attack, library.attacks.Attack):
        raise TypeError(
            "ad.attacks.foolbox accepts an instance of a Foolbox attack, such as foolbox.attacks.LinfPGD(steps=20); "
            f"got {attack!r}."
        )
    if isinstance(threat, Threat):
        norm = {2: L2.name, float("inf"): Linf.name}.get(p := _norm(attack), f"L{p:g}")
        if norm != threat.name:
            raise ValueError(f"{type(attack).__name__} is bounded in {norm}, the threat model is {threat}.")
    eps = threat.eps if isinstance(threat, Threat) else pixels(threat, limit=L2.limit)
    return FoolboxAttack(name or f"foolbox-{type(attack).__name__}", attack, eps)


def torchattacks(kind: str | Callable[..., Any], name: str | None = None, **options: Any) -> "TorchAttack":
    """Wrap an attack of torchattacks; its random numbers, also global ones, follow from the evaluation's seed.

    Args:
        kind: a class of torchattacks or its name, such as "PGD", or a function that returns an attack for a model.
        name: name in results; `None` is "torchattacks-" and the name of the class or function.
        options: arguments of the class except the model; eps may be text such as "8/255". The attack uses the eps given
            here, and its x' are not clipped to the evaluation's threat model.

    Raises:
        ImportError: torchattacks is missing.
        TypeError: the class does not accept these options, or `kind` is not callable.
        ValueError: torchattacks has no attack of this name.

    Example:
        >>> import advdistill as ad
        >>> def momentum(model, eps):  # or ad.attacks.torchattacks("MIFGSM", eps="8/255")
        ...     import torchattacks
        ...     return torchattacks.MIFGSM(model, eps=eps)
        >>> ad.attacks.torchattacks(momentum, eps="8/255").describe(10)
        'momentum, eps 8/255'
    """
    if isinstance(kind, str):
        library = require("torchattacks", "ad.attacks.torchattacks", "torchattacks")
        if not hasattr(library, kind):
            raise ValueError(f"torchattacks has no attack {kind!r}; it has PGD, MIFGSM, APGD, ... Mind the letters.")
        kind = getattr(library, kind)
    if not callable(kind):
        raise TypeError(
            "ad.attacks.torchattacks accepts a class or its name, such as 'PGD', not an attack instance, which is "
            f"already bound to a model; got {type(kind).__name__}."
        )
    if isinstance(options.get("eps"), str):
        options["eps"] = pixels(options["eps"], limit=L2.limit)
    try:
        inspect.signature(kind).bind(None, **options)
    except TypeError as error:
        raise TypeError(f"{kind.__name__} of torchattacks cannot be made with {options}: {error}.") from None
    return TorchAttack(name or f"torchattacks-{kind.__name__}", kind, options)


@dataclass(frozen=True)
class FoolboxAttack(Attack):
    """See `foolbox`."""

    name: str
    attack: Any
    eps: float
    packages = ("foolbox",)

    @property
    def settings(self) -> dict[str, object]:
        return {"attack": plain(self.attack), "eps": self.eps}

    def describe(self, classes: int) -> str:
        return f"{plain(self.attack)}, {described({'eps': self.eps})}"

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        library = require("foolbox", self.name, "foolbox")
        wrapped = library.PyTorchModel(_Shown(model, x.device), bounds=(0, 1), device=x.device)
        with seeded(rng):
            _, x_adv, _ = self.attack(wrapped, x, y, epsilons=self.eps)
        return x_adv


@dataclass(frozen=True)
class TorchAttack(Attack):
    """See `torchattacks`."""

    name: str
    kind: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    packages = ("torchattacks",)

    @property
    def settings(self) -> dict[str, object]:
        """The options, with the class's defaults, which may differ between versions of torchattacks."""
        _, *known = inspect.signature(self.kind).parameters.values()  # without the model
        values = {p.name: p.default for p in known if p.default is not p.empty and p.name != "seed"}
        return {"attack": self.kind.__name__} | {name: plain(v) for name, v in (values | self.options).items()}

    def describe(self, classes: int) -> str:
        attack, *rest = self.settings.items()
        return ", ".join(filter(None, (str(attack[1]), described(dict(rest)))))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        options = dict(self.options)
        if "seed" in inspect.signature(self.kind).parameters:  # AutoAttack's default is the clock
            options.setdefault("seed", rng.seed % 2**31)
        with seeded(rng):
            return self.kind(_Shown(model, x.device), **options)(x, y)


class _Shown(nn.Module):
    """A network in the form that libraries require: a parameter tells its device; only this wrapper is in eval mode."""

    def __init__(self, network: nn.Module, device: torch.device):
        super().__init__()
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.run = network.__call__
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def _norm(attack: Any) -> float:
    """Return p of the norm in which a Foolbox attack is bounded."""
    try:
        return float(attack.distance.p)
    except (AttributeError, ValueError):  # the attack has no norm, or Foolbox requires a distance
        raise ValueError(
            f"{type(attack).__name__} does not say in which norm it is bounded; give it "
            "distance=foolbox.distances.linf or .l2."
        ) from None
