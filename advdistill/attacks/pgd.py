"""Projected gradient descent, the attack loop of FGSM, PGD-n, CW-inf and the training attacks of all methods."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from .._internal.rng import Rng
from ..threat import Linf, Pixels, Threat, as_threat, pixels, show_pixels

__all__ = ["PGD", "Mode", "Objective", "Start"]

Objective = Callable[[Tensor], Tensor]
Start = Literal["uniform", "uniform_unclamped", "gaussian", "gaussian_clamped", "signs", "last", "none"]
Mode = Literal["eval", "train"]


@dataclass(frozen=True)
class PGD:
    """Gradient ascent on an objective inside a threat model.

        x'_0 = start(x),   x'_{i+1} = project(x'_i + step_size * steepest(grad objective(x'_i)))

    Args:
        steps: number of ascent steps.
        step_size: in pixel units, also as text such as `"2/255"`; at most eps unless `allow_step_above_eps`.
        threat: `Linf` or `L2`.
        start: `uniform` in the ball, clamped to [0, 1]; `uniform_unclamped`, the same without clamping, as in the first
            released ARD and IAD scripts; `gaussian`, 0.001 N(0, 1); `gaussian_clamped`, the same clamped to [0, 1];
            `signs`, plus or minus half of eps at each pixel, clamped to [0, 1]; `last`, in training the x' from the
            last time that the image was trained on; `none`. `None` is the method's default, else `uniform`.
        student_mode: batch-norm mode of the attacked network; `None` is the method's default.
        start_radius: radius of a uniform start, in units of eps.
        projected: whether x' is projected into the eps ball; if not, x' is only clamped to [0, 1].
        allow_step_above_eps: accept a step size larger than eps, as in FGSM-RS.
        stop_after: in training, an image's attack ends this many steps after its first misclassification; `None` takes
            all steps.

    Example:
        >>> import torch, advdistill as ad
        >>> attack = PGD(steps=10, step_size="2/255", threat=ad.Linf("8/255"))
        >>> str(attack)
        'PGD-10, Linf 8/255, step 2/255'
        >>> x = torch.full((2, 3, 4, 4), 0.5)
        >>> x_adv = attack(lambda z: z.sum((1, 2, 3)), x)  # the brighter, the better
        >>> bool(torch.isclose(x_adv - x, torch.tensor(8 / 255)).all())
        True

    Reference: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018, arXiv:1706.06083.
    """

    steps: int = 10
    step_size: Pixels = 2 / 255  # type: ignore[assignment]  # a default has the type that is read
    threat: Threat = field(default_factory=Linf)
    start: Start | None = None
    student_mode: Mode | None = None
    start_radius: float = 1.0
    projected: bool = True
    allow_step_above_eps: bool = False
    stop_after: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", as_threat(self.threat))
        eps: object = self.threat.eps
        if isinstance(eps, Tensor):  # set by `within`
            return
        object.__setattr__(self, "step_size", pixels(self.step_size, "step_size", limit=10))
        if self.steps < 1:
            raise ValueError(f"PGD needs at least 1 step, got steps={self.steps}.")
        if self.step_size > self.threat.eps * (1 + 1e-9) > 0 and not self.allow_step_above_eps:
            raise ValueError(
                f"PGD step_size ({show_pixels(self.step_size)}) is larger than the threat model's eps "
                f"({show_pixels(self.threat.eps)}). Were the two swapped? If not, as in FGSM-RS, set "
                "allow_step_above_eps."
            )
        self._check_start()

    def _check_start(self) -> None:
        uniform = self.start in (None, "uniform", "uniform_unclamped")
        if not (0 < self.start_radius <= 10 and (uniform or self.start_radius == 1)):
            raise ValueError(
                f"PGD start_radius requires a uniform start, and must be above 0 and at most 10, in units of eps; got "
                f"{self.start_radius:g} with the start {self.start or 'uniform'!r}."
            )
        if self.start == "signs" and not isinstance(self.threat, Linf):
            raise ValueError(f"PGD start 'signs' requires a Linf threat model; got {self.threat}. Set start='uniform'.")
        if self.stop_after is not None and not 0 <= self.stop_after < self.steps:
            raise ValueError(
                f"PGD stop_after is a number of steps below steps={self.steps}, at least 0; got {self.stop_after}. "
                "Leave it out to take all steps."
            )

    def __str__(self) -> str:
        radius = f" in {self.start_radius:g} eps" if self.start_radius != 1 else ""
        start = f", {self.start or 'uniform'} start{radius}" if self.start or radius else ""
        start += "" if self.projected else ", not projected"
        start += "" if self.stop_after is None else f", stopped {self.stop_after} steps after an error"
        return f"PGD-{self.steps}, {self.threat}, step {show_pixels(self.step_size)}{start}"

    def within(self, eps: Tensor) -> "PGD":
        """Return the same attack with one eps per image, `[B]`; the step size keeps its ratio to eps.

        Raises:
            ValueError: eps is outside the range of the threat model, or has another shape.
        """
        ratio = self.step_size / self.threat.eps if self.threat.eps else 0.0
        given: Any = eps  # the public type of eps is a number
        return replace(self, threat=replace(self.threat, eps=given), step_size=ratio * given)

    def filled(self, start: Start, mode: Mode) -> "PGD":
        """Return the attack with a method's start and student mode, if it has none of its own."""
        return replace(self, start=self.start or start, student_mode=self.student_mode or mode)

    def on(self, student: object, y: Tensor, notes: object) -> "PGD":
        """Return the attack on one batch, which is this object: see `CustomAttack.on`."""
        return self

    def __call__(self, objective: Objective, x: Tensor, rng: Rng | None = None) -> Tensor:
        """Find x' for which `objective(x')`, `[B]`, is large.

        Args:
            objective: one number per image, differentiable in x' and independent of the other images.
            x: clean images `[B, C, H, W]` in [0, 1].
            rng: random numbers for the start; `None` uses torch's global generator.

        Returns:
            x' `[B, C, H, W]`, detached, inside the threat model if it is `projected`.
        """
        return self.climb(objective, x, self.begin(x, rng))

    def begin(self, x: Tensor, rng: Rng | None = None) -> Tensor:
        """Return the random start x'_0, `[B, C, H, W]`; arguments as in `__call__`."""
        rng = rng or Rng(int(torch.randint(2**62, ())), device=x.device)
        match self.start or "uniform":
            case "none":
                return x
            case "gaussian":
                return x + 0.001 * rng.normal(x)
            case "gaussian_clamped":
                return (x + 0.001 * rng.normal(x)).clamp(0, 1)
            case "signs":
                return self.threat.ascend(x, rng.uniform(x) - 0.5, self.threat.eps / 2).clamp(0, 1)
            case "uniform_unclamped":
                return x + self.start_radius * self.threat.sample(x, rng)
            case _:
                return (x + self.start_radius * self.threat.sample(x, rng)).clamp(0, 1)

    def climb(self, objective: Objective, x: Tensor, x_adv: Tensor) -> Tensor:
        """Take all steps from a start `x_adv`, which is not modified; otherwise as `__call__`."""
        for _ in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(objective(x_adv).sum(), x_adv)
            x_adv = self.advanced(x_adv.detach(), gradient, x)
        return x_adv

    def advanced(self, x_adv: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
        """Take one step from `x_adv` along a gradient, and project; all `[B, C, H, W]`."""
        moved = self.threat.ascend(x_adv, gradient, self.step_size)
        return self.threat.project(moved, x) if self.projected else moved.clamp(0, 1)
