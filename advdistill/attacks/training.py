"""A user's own attack in training, in place of PGD."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._internal.imports import absolute
from .._internal.modes import in_mode, without_parameter_gradients
from .._internal.rng import Rng
from ..threat import Linf, Threat
from .base import Attack, call, inside
from .custom import PREFIX, as_attack, from_python
from .pgd import Mode, Objective, Start
from .settings import described, plain

__all__ = ["CustomAttack", "OnBatch"]

if TYPE_CHECKING:
    from collections.abc import Callable

    Named = str | Attack | Callable[..., Tensor]
else:
    Named = str  # a recipe has a name; only a Distiller accepts the attack itself


@dataclass(frozen=True)
class CustomAttack:
    """A user's own attack that finds x' in training, without climbing the method's `inner`; x' is projected.

    The attack is called as `attack(student, x, y, rng=rng)`, see `Attack.__call__`, and chooses its own start. If
    several processes share a batch, `rng.uniform(x)` and `rng.normal(x)` draw the same rows as one process would; other
    draws differ from those of one process.

    Args:
        python: `my_module:my_attack` or `path/to/file.py:MyAttack`, see `custom.from_python`; for a `Distiller` in your
            own loop also the attack itself.
        threat: x' is projected into it; passed as `threat` to what creates the attack, if that has such an argument.
        settings: further arguments of what creates the attack, or of a function.
        student_mode: batch-norm mode of the attacked network; `None` is the method's default.

    Raises:
        ValueError: no such attack; see `custom.from_python`.

    Example:
        >>> import torch, advdistill as ad
        >>> def noise(model, x, y, *, rng):
        ...     return x + 0.1 * (2 * rng.uniform(x) - 1)
        >>> attack = ad.attacks.CustomAttack(noise, ad.Linf(0.1))
        >>> distiller = ad.Distiller(ad.PGDAT(), attack=attack)
        >>> x, y = torch.full((4, 1, 8, 8), 0.5), torch.arange(4)
        >>> x_adv = distiller.craft(ad.models.create("convnet-2", 10, 1), x, y).x_adv
        >>> bool(0.09 < (x_adv - x).abs().max() <= 0.1 + 1e-6), str(attack)
        (True, 'noise, Linf 0.1')
    """

    python: Named
    threat: Threat = field(default_factory=Linf)
    settings: dict[str, Any] = field(default_factory=dict)
    student_mode: Mode | None = None

    def __post_init__(self) -> None:
        if isinstance(self.python, str):
            object.__setattr__(self, "python", absolute(self.python.removeprefix(PREFIX)))

    def __str__(self) -> str:
        settings = described({**self.attack.settings, "threat": plain(self.threat)} if self.attack.settings else {})
        return ", ".join((self.attack.name, settings.replace("threat ", "") or str(self.threat)))

    @cached_property
    def attack(self) -> Attack:
        """The attack that `python` names."""
        if isinstance(self.python, str):
            return from_python(self.python, self.threat, self.settings)
        return as_attack(self.python, self.settings)

    def on(self, student: nn.Module, y: Tensor, notes: Mapping[str, Tensor]) -> "OnBatch":
        """Return the attack on one batch, to be called like a `PGD`.

        Args:
            student: maps images to logits `[B, K]`, in the mode in which it is attacked.
            y: labels `[B]`.
            notes: what the method's objective records of each x'.
        """
        return OnBatch(self.attack, self.threat, student, y, notes)

    def filled(self, start: Start, mode: Mode) -> "CustomAttack":
        """Return the attack with the method's student mode, if it has none of its own; `start` is not used."""
        return replace(self, student_mode=self.student_mode or mode)

    def check_named(self) -> None:
        """Raise ValueError if `python` is the attack itself, which a recipe, as data, cannot contain."""
        if not isinstance(self.python, str):
            raise ValueError(
                f"A recipe names its attack, as in CustomAttack('my_module:MyAttack', settings={{...}}); got "
                f"{self.attack.name} itself, which a Distiller in a loop of your own takes."
            )

    def try_on(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Attack two of these images in eval mode; nothing is saved.

        Raises:
            ValueError: as `base.call`.

        Warns:
            UserWarning: every x' is outside the threat model, and would be projected.
        """
        x, y = x[:2], y[:2]
        with in_mode(student, False), without_parameter_gradients(student):
            x_adv = call(self.attack, student, x, y, Rng(0, "trial", device=x.device))
        if not inside(self.threat, x_adv, x).any():
            far = self.threat.distance(x_adv, x).max().item()
            warnings.warn(
                f"{self.attack.name}: every x' is outside {self.threat} or [0, 1], up to {far:.3g} from x, and is "
                "projected. Does the attack have the training's eps?",
                stacklevel=2,
            )


@dataclass(frozen=True, eq=False)
class OnBatch:
    """See `CustomAttack.on`."""

    attack: Attack
    threat: Threat
    student: nn.Module
    y: Tensor
    notes: Mapping[str, Tensor]

    def within(self, eps: Tensor) -> "OnBatch":
        """Return the attack with one eps per image, `[B]`, for the projection; the attack itself does not get it."""
        given: Any = eps
        return replace(self, threat=replace(self.threat, eps=given))

    def __call__(self, objective: Objective, x: Tensor, rng: Rng | None = None) -> Tensor:
        """Find x'.

        Args:
            objective: the method's objective; it is not climbed. If it records notes, it is called on x' once.
            x: clean images `[B, C, H, W]` in [0, 1].
            rng: random numbers; `None` seeds them from torch's global generator.

        Returns:
            x' `[B, C, H, W]`, detached, inside the threat model.

        Raises:
            ValueError: the attack does not return finite images like x, or needs a gradient and there is none.
        """
        rng = rng or Rng(int(torch.randint(2**62, ())), device=x.device)
        with without_parameter_gradients(self.student):
            x_adv = self.threat.project(call(self.attack, self.student, x, self.y, rng), x)
        if self.notes:
            with torch.no_grad():
                objective(x_adv.clone().requires_grad_())
        return x_adv
