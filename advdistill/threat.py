"""Threat models: where an adversarial example may lie. Images are `[B, C, H, W]` in [0, 1], eps has the same units."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from ._internal.messages import unknown
from ._internal.pixels import pixels, show_pixels
from ._internal.rng import Rng

__all__ = ["L2", "Linf", "Pixels", "Threat", "as_threat", "parse", "pixels", "show_pixels"]

if TYPE_CHECKING:

    class Pixels:
        """For type checkers: a field that is set to a number or a text, and read as a number."""

        def __get__(self, owner: object, kind: type) -> float: ...
        def __set__(self, owner: object, value: float | str) -> None: ...

else:
    Pixels = float | str  # a length in pixel units; text such as "8/255" is parsed and stored as a float


def per_image(value: float | Tensor) -> float | Tensor:
    """Reshape `[B]` numbers to `[B, 1, 1, 1]`, to multiply images; return a single number unchanged."""
    return value[:, None, None, None] if isinstance(value, Tensor) else value


class _Ball:
    eps: float
    name: ClassVar[str]
    limit: ClassVar[float]

    def __post_init__(self) -> None:
        eps: object = self.eps
        if isinstance(eps, Tensor):
            _check_eps_of_images(eps, self.limit)
        else:
            object.__setattr__(self, "eps", pixels(self.eps, limit=self.limit))

    def __str__(self) -> str:
        eps: object = self.eps
        return f"{self.name} {'per image' if isinstance(eps, Tensor) else show_pixels(self.eps)}"


def _check_eps_of_images(eps: Tensor, limit: float) -> None:
    if eps.ndim != 1 or not eps.is_floating_point():
        raise ValueError(f"eps must be a number, or floats [B], one per image; got {eps.dtype} {list(eps.shape)}.")
    if not eps.is_cuda and not ((eps >= 0) & (eps <= limit)).all():  # on CUDA, reading it would wait for the device
        raise ValueError(f"eps of each image must lie in [0, {limit:g}], got {eps.min():.3g} to {eps.max():.3g}.")


@dataclass(frozen=True)
class Linf(_Ball):
    """|x' - x|_inf <= eps, in units of pixels in [0, 1]; text such as "8/255" is accepted.

    eps may also be a tensor `[B]`, one number per image.

    Example:
        >>> Linf("8/255") == Linf(8 / 255), str(Linf(0.1))
        (True, 'Linf 0.1')
    """

    eps: Pixels = 8 / 255  # type: ignore[assignment]  # the default has the type that is read
    name: ClassVar[str] = "Linf"
    limit: ClassVar[float] = 1.0

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Draw a perturbation `[B, C, H, W]` uniformly from the ball, for images `[B, C, H, W]`."""
        return (2 * rng.uniform(x) - 1) * per_image(self.eps)

    def ascend(self, x_adv: Tensor, gradient: Tensor, step_size: float | Tensor) -> Tensor:
        """Take one step of steepest ascent, of length `step_size` in the norm; `[B, C, H, W]`, not projected."""
        return x_adv + per_image(step_size) * gradient.sign()

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Project to the nearest point in the ball, then clamp to the pixel range."""
        eps = per_image(self.eps)
        return x_adv.clamp(x - eps, x + eps).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest change of a pixel, |x' - x|_inf, of each image: `[B]`."""
        return (x_adv - x).abs().flatten(1).amax(1)


@dataclass(frozen=True)
class L2(_Ball):
    """|x' - x|_2 <= eps, in units of pixels in [0, 1]; text such as "128/255" is accepted.

    eps may also be a tensor `[B]`, one number per image.

    Example:
        >>> import torch
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> L2(1.0).distance(L2(1.0).project(x + 1, x), x)
        tensor([1.])
    """

    eps: Pixels = 128 / 255  # type: ignore[assignment]  # the default has the type that is read
    name: ClassVar[str] = "L2"
    limit: ClassVar[float] = 5.0

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Draw a perturbation `[B, C, H, W]` uniformly from the ball, for images `[B, C, H, W]`."""
        direction = rng.normal(x)
        radius = rng.uniform(x[:, :1, :1, :1]) ** (1 / x[0].numel())
        return direction / per_image(direction.flatten(1).norm(dim=1)) * radius * per_image(self.eps)

    def ascend(self, x_adv: Tensor, gradient: Tensor, step_size: float | Tensor) -> Tensor:
        """Take one step of steepest ascent, of length `step_size` in the norm; `[B, C, H, W]`, not projected."""
        return x_adv + per_image(step_size) * gradient / per_image(gradient.flatten(1).norm(dim=1).clamp(min=1e-12))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Project to the nearest point in the ball, then clamp to the pixel range; clamping only shortens x' - x."""
        shrink = (self.eps / self.distance(x_adv, x).clamp(min=1e-12)).clamp(max=1)
        return (x + (x_adv - x) * per_image(shrink)).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return |x' - x|_2 of each image: `[B]`."""
        return (x_adv - x).flatten(1).norm(dim=1)


Threat = Linf | L2


def as_threat(given: object) -> Threat:
    """Return a threat model, given as an object, as text or as the eps of `Linf`.

    Args:
        given: `Linf(...)`, `L2(...)`, `"Linf 8/255"`, `"l2 0.5"`, `"8/255"` or `8 / 255`; `None` is Linf 8/255.

    Returns:
        `Linf` or `L2`.

    Raises:
        ValueError: anything else, or an invalid eps.

    Example:
        >>> from advdistill.threat import as_threat
        >>> str(as_threat("8/255")), str(as_threat("l2 0.5"))
        ('Linf 8/255', 'L2 0.5')
    """
    if isinstance(given, Threat):
        return given
    if isinstance(given, str):
        name, space, eps = given.strip().partition(" ")
        return parse(f"{name.capitalize()} {eps}") if space else Linf(name)
    if given is None or isinstance(given, float | int):
        return Linf() if given is None else Linf(given)
    raise ValueError(f"A threat model is Linf(8 / 255), L2(0.5) or text such as 'Linf 8/255'; got {given!r}.")


def parse(text: str) -> Threat:
    """Parse the text that `str` returns for a threat model.

    Args:
        text: a norm and an eps in pixel units, such as `Linf 8/255`.

    Returns:
        `Linf` or `L2`.

    Raises:
        ValueError: another format, an unknown norm, or an invalid eps.

    Example:
        >>> from advdistill.threat import Linf, parse
        >>> parse("Linf 8/255") == Linf(8 / 255)
        True
    """
    name, _, eps = text.partition(" ")
    kinds = {kind.name: kind for kind in (Linf, L2)}
    if not eps:
        raise ValueError(f"A threat model is a norm and an eps, such as 'Linf 8/255'; got {text!r}.")
    if name not in kinds:
        raise unknown("norm", name, kinds)
    return kinds[name](eps)
