"""The protocol of attacks: what an evaluation asks of an attack, ours or a user's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from .._internal.rng import Rng
from ..threat import Threat

__all__ = ["TOLERANCE", "Attack", "Outcome", "Report", "inside"]

Report = Callable[[str], None]
TOLERANCE = 1e-6  # rounding of x' - x in fp32


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an attack did to one batch.

    Attributes:
        x_adv: x' `[B, C, H, W]`.
        correct: which x' the evaluated model still classifies correctly, `[B]` booleans; `None` leaves that to the
            evaluation.
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
        transferred: whether x' is searched for on a surrogate.
        notes: what `outcome` tells of each image besides, dtypes by name.

    Example:
        >>> import torch, advdistill as ad
        >>> class FGSM(Attack):
        ...     name = "my-fgsm"
        ...     def __call__(self, model, x, y, *, rng):
        ...         x = x.clone().requires_grad_()
        ...         (gradient,) = torch.autograd.grad(ad.losses.cross_entropy(model(x), y).sum(), x)
        ...         return (x + 0.1 * gradient.sign()).clamp(0, 1).detach()
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> result = ad.evaluate(model, test, ad.Linf(0.1), attacks=["clean", FGSM()], n=20)
        >>> [m.attack for m in result.measurements]
        ['clean', 'my-fgsm']
    """

    name: str
    perturbs: bool = True
    transferred: bool = False
    notes: Mapping[str, torch.dtype] = MappingProxyType({})

    def describe(self, classes: int) -> str:
        """The settings, as they are printed with results, on data of so many classes."""
        return self.name

    def check(self) -> None:
        """Raise ImportError where a package is missing; called before anything is attacked."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, rng: Rng) -> Tensor:
        """Search for adversarial images of one batch.

        Args:
            model: attacked, in eval mode; images `[B, C, H, W]` in [0, 1] to logits `[B, K]`. Gradients are on.
            x: clean images `[B, C, H, W]` in [0, 1].
            y: labels `[B]`.
            rng: where random numbers are drawn from, a function of the seed and the batch's place; `rng.generator` is
                for torch.

        Returns:
            x' `[B, C, H, W]`. An x' outside the threat model or [0, 1] breaks nothing.
        """
        raise NotImplementedError

    def outcome(
        self, model: nn.Module, x: Tensor, y: Tensor, *, attacked: nn.Module | None, rng: Rng, report: Report
    ) -> Outcome:
        """As `__call__`, of the model whose predictions count and, where it is another, the network to search on.

        Args:
            model: the evaluated model.
            attacked: where x' is searched for; `None` is the evaluated model.
            report: receives lines of progress.
        """
        return Outcome(self(model if attacked is None else attacked, x, y, rng=rng))


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
