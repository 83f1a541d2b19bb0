"""The protocol of attacks: what an evaluation or a training asks of an attack, ours or a user's own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

import torch
from torch import Tensor, nn

from .._internal.modes import kept_modes
from .._internal.rng import Rng, seeded
from ..threat import Threat
from .settings import described, plain

__all__ = ["TOLERANCE", "Attack", "Outcome", "Report", "call", "checked", "inside", "naming"]

Report = Callable[[str], None]
_PLAIN = (bool, int, float, str, tuple, *get_args(Threat))  # attributes of a class that are settings
TOLERANCE = 1e-6  # rounding of x' - x in fp32


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an attack did to one batch.

    Attributes:
        x_adv: x' `[B, C, H, W]`.
        correct: which x' the evaluated model still classifies correctly, `[B]` booleans; `None` leaves that to the
            evaluation, which decides it for attacks of your own in any case.
        notes: the values of `Attack.notes`, each `[B]`.
    """

    x_adv: Tensor
    correct: Tensor | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)


class Attack:
    """Base class of attacks; one of your own needs `name` and `__call__`.

    Attributes:
        name: of the attack in results and files: letters, digits, `-` and `_`.
        perturbs: `False` for the attack that leaves images clean.
        climbs: `False` where the gradient of its first step is not to be seen, or is not what the attack stands on.
        transferred: whether x' is searched for on a surrogate.
        notes: what `outcome` tells of each image besides, dtypes by name.
        packages: whose versions the result records.

    Example:
        >>> import torch, advdistill as ad
        >>> class FGSM(ad.attacks.Attack):
        ...     name = "my-fgsm"
        ...     def __init__(self, eps):
        ...         self.eps = eps
        ...     def __call__(self, model, x, y, *, rng):
        ...         x.requires_grad_()
        ...         (gradient,) = torch.autograd.grad(ad.losses.cross_entropy(model(x), y).sum(), x)
        ...         return (x + self.eps * gradient.sign()).clamp(0, 1)
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> result = ad.evaluate(model, test, ad.Linf(0.1), attacks=["clean", FGSM(eps=0.1)], n=20)
        >>> [(m.attack, m.settings) for m in result.measurements]
        [('clean', ''), ('my-fgsm', 'eps 0.1')]
    """

    name: str
    perturbs: bool = True
    climbs: bool = True
    transferred: bool = False
    notes: Mapping[str, torch.dtype] = MappingProxyType({})
    packages: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, object]:
        """What tells two attacks of this name apart, as plain values by name: its public attributes."""
        kinds = type(self).__mro__[: type(self).__mro__.index(Attack)]
        written = {n: v for kind in reversed(kinds) for n, v in vars(kind).items() if isinstance(v, _PLAIN)}
        known = {"name", *vars(Attack)}
        values = {**vars(self), **{name: getattr(self, name) for name in written}}
        return {n: plain(v) for n, v in values.items() if n not in known and not n.startswith("_")}

    def describe(self, classes: int) -> str:
        """The settings, as they are printed with results, on data of so many classes."""
        return described(self.settings) or self.name

    def stays_inside(self, threat: Threat) -> bool:
        """Whether its x' are known to be inside this threat model; else the evaluation counts those outside."""
        return False

    def check(self) -> None:
        """Raise ImportError where a package is missing; called before anything is attacked."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        """Search for adversarial images of one batch.

        Args:
            model: attacked; images `[B, C, H, W]` in [0, 1] to logits `[B, K]`. In eval mode, in a training in the mode
                that the recipe or the method says. Gradients are on.
            x: clean images `[B, C, H, W]` in [0, 1], a copy.
            y: labels `[B]`.
            rng: where random numbers are drawn from: `rng.uniform(x)` and `rng.normal(x)`, which in an evaluation are
                functions of the seed and the image; or `rng.generator` for torch, a function of the seed and the
                batch's place. The global generators of torch, NumPy and Python begin at `rng.seed`. An evaluation's
                batches are blocks of a fixed size, so neither depends on its `batch_size`.

        Returns:
            x' `[B, C, H, W]`, of x's dtype and device. In an evaluation an x' outside the threat model or [0, 1] breaks
            nothing; in a training it is projected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(model, x, y, *, rng).")

    def outcome(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attacked: nn.Module | None, rng: Rng, report: Report
    ) -> Outcome:
        """As `__call__`, of the model whose predictions count and, where it is another, the network to search on.

        Args:
            model: the evaluated model.
            attacked: where x' is searched for; `None` is the evaluated model.
            report: receives lines of progress.
        """
        return Outcome(call(self, model if attacked is None else attacked, x, y, rng))


def call(attack: Attack, model: nn.Module, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
    """What an attack returns, checked; whatever it does to x, y, modes and global generators is undone.

    Args:
        attack, model, x, y, rng: as in `Attack.__call__`.

    Returns:
        x' `[B, C, H, W]`, detached.

    Raises:
        ValueError: see `checked`; or the attack needs a gradient and there is none.
    """
    with naming(attack), seeded(rng), kept_modes(model), torch.enable_grad():
        found = attack(model, x.detach().clone(), y.clone(), rng=rng)
    return checked(attack, found, x)


def checked(attack: Attack, found: object, x: Tensor) -> Tensor:
    """What an attack returned, checked.

    Args:
        attack: named in errors.
        found: what it returned.
        x: the clean images `[B, C, H, W]`.

    Returns:
        x' like x, detached.

    Raises:
        ValueError: no tensor, another shape, dtype or device, or values that are NaN or infinite.
    """
    name = _title(attack)
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} must return x' as a tensor, it returns a {type(found).__name__}.")
    if found.shape != x.shape:
        raise ValueError(f"{name} must return x' of shape {list(x.shape)}, it returns {list(found.shape)}.")
    if found.dtype != x.dtype:
        raise ValueError(f"{name} must return x' in {x.dtype}, it returns {found.dtype}; convert: x_adv.to(x.dtype).")
    if found.device != x.device:
        raise ValueError(f"{name} must return x' on {x.device}, it returns it on {found.device}: x_adv.to(x.device).")
    if not found.isfinite().all():
        raise ValueError(f"{name} returns x' that are NaN or infinite; a zero gradient divided by its norm, perhaps?")
    return found.detach()


NO_GRADIENT = ("does not require grad", "not have been used in the graph")  # of torch's messages


@contextmanager
def naming(attack: object) -> Iterator[None]:
    """Within, an error about a missing gradient names the attack.

    Args:
        attack: the one that runs within, or what else needs the gradient, as text.

    Raises:
        ValueError: a gradient is asked for that there is none of.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(part in str(error) for part in NO_GRADIENT):
            raise
        raise ValueError(
            f"{_title(attack)} needs a gradient, and the model's logits have none with respect to the images: "
            "something in the model or the attack detaches them (detach, no_grad, NumPy, an int8 layer). Square needs "
            "none."
        ) from error


def _title(attack: object) -> str:
    return attack if isinstance(attack, str) else getattr(attack, "name", type(attack).__name__)


def inside(threat: Threat, x_adv: Tensor, x: Tensor) -> Tensor:
    """Which adversarial images lie inside the threat model and in [0, 1].

    Args:
        threat: its eps is exceeded by `TOLERANCE` at most.
        x_adv: x' `[B, C, H, W]`.
        x: clean images `[B, C, H, W]`.

    Returns:
        `[B]` booleans; an x' with a NaN is not inside.
    """
    near = threat.distance(x_adv, x) <= threat.eps + TOLERANCE
    return near & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
