"""The protocol of attacks: what evaluation and training require of an attack, ours or a user's own."""

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
_PLAIN = (bool, int, float, str, tuple, *get_args(Threat))  # types of class attributes that are settings
TOLERANCE = 1e-6  # rounding of x' - x in fp32


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of an attack on one batch.

    Attributes:
        x_adv: x' `[B, C, H, W]`.
        correct: which x' the evaluated model still classifies correctly, `[B]` booleans. If `None`, and always
            for your own attacks, the evaluation classifies x'.
        notes: the values of `Attack.notes`, each `[B]`.
    """

    x_adv: Tensor
    correct: Tensor | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)


class Attack:
    """Base class of attacks; your own attack needs `name` and `__call__`.

    Attributes:
        name: name of the attack in results and files: letters, digits, `-` and `_`.
        perturbs: `False` for the attack that leaves images clean.
        climbs: `False` if the gradient of its first step cannot be observed, or if the attack does not rely on it.
        transferred: whether x' is searched for on a surrogate.
        notes: further values that `outcome` returns for each image, dtypes by name.
        packages: packages whose versions the result records.

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
        """The public attributes, as plain values by name; they distinguish attacks of the same name."""
        kinds = type(self).__mro__[: type(self).__mro__.index(Attack)]
        written = {n: v for kind in reversed(kinds) for n, v in vars(kind).items() if isinstance(v, _PLAIN)}
        known = {"name", *vars(Attack)}
        values = {**vars(self), **{name: getattr(self, name) for name in written}}
        return {n: plain(v) for n, v in values.items() if n not in known and not n.startswith("_")}

    def describe(self, classes: int) -> str:
        """Return the settings as printed with results on data with this number of classes."""
        return described(self.settings) or self.name

    def stays_inside(self, threat: Threat) -> bool:
        """Return whether all x' are known to be inside this threat model; else the evaluation counts those outside."""
        return False

    def check(self) -> None:
        """Raise ImportError if a package is missing; called before any attack."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        """Search for adversarial images of one batch.

        Args:
            model: the attacked network, maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`. It is in eval mode, in
                training in the mode that the recipe or the method specifies. Gradients are enabled.
            x: clean images `[B, C, H, W]` in [0, 1], a copy.
            y: labels `[B]`.
            rng: source of random numbers: `rng.uniform(x)` and `rng.normal(x)`, which in an evaluation are functions of
                the seed and the image; or `rng.generator` for torch, a function of the seed and the batch's position.
                The global generators of torch, NumPy and Python are seeded with `rng.seed`. An evaluation's batches are
                blocks of a fixed size, so no random number depends on its `batch_size`.

        Returns:
            x' `[B, C, H, W]`, with x's dtype and device. In evaluation, an x' outside the threat model or [0, 1] does
            not break its image; in training, it is projected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(model, x, y, *, rng).")

    def outcome(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attacked: nn.Module | None, rng: Rng, report: Report
    ) -> Outcome:
        """Search as `__call__` does, given the model whose predictions count and, if different, the attacked network.

        Args:
            model: the evaluated model.
            attacked: the network to search on; `None` is the evaluated model.
            report: receives lines of progress.
        """
        return Outcome(call(self, model if attacked is None else attacked, x, y, rng))


def call(attack: Attack, model: nn.Module, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
    """Run an attack and check x'; its changes to x, y, modes and global generators are undone.

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
    """Check what an attack returned, and return it detached.

    Args:
        attack: the attack, named in errors.
        found: what the attack returned.
        x: the clean images `[B, C, H, W]`.

    Returns:
        x' like x, detached.

    Raises:
        ValueError: not a tensor, another shape, dtype or device, or values that are NaN or infinite.
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


NO_GRADIENT = ("does not require grad", "not have been used in the graph")  # parts of torch's messages


@contextmanager
def naming(attack: object) -> Iterator[None]:
    """Name the attack in errors about a missing gradient that occur within this context.

    Args:
        attack: the attack that runs within, or text that names what else needs the gradient.

    Raises:
        ValueError: a required gradient does not exist.
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
    """Return which adversarial images lie inside the threat model and in [0, 1].

    Args:
        threat: the threat model; its eps may be exceeded by `TOLERANCE` at most.
        x_adv: x' `[B, C, H, W]`.
        x: clean images `[B, C, H, W]`.

    Returns:
        `[B]` booleans; an x' with a NaN is not inside.
    """
    near = threat.distance(x_adv, x) <= threat.eps + TOLERANCE
    return near & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
