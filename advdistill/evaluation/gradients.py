"""How alike two networks are, and how linear one is: input gradients, which IGDM aligns, and logits near an image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..attacks.base import naming
from ..attacks.suites import pgd_20
from ..data import Given
from ..losses import Loss, cross_entropy
from ..threat import Threat, as_threat
from .context import Context, exact
from .networks import EvaluatedModel, placed

__all__ = ["Alignment", "gradient_alignment", "input_gradient", "linearity_remainder", "pointwise_distance"]


def true_logit(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of each label, `[B]`."""
    return logits.gather(1, y[:, None]).squeeze(1)


SCALARS: dict[str, Loss] = {"cross_entropy": cross_entropy, "true_logit": true_logit}


@dataclass(frozen=True)
class Alignment:
    """Means over the images of the cosine and of the L2 distance of two networks' input gradients."""

    cosine: float
    distance: float


def gradient_alignment(
    student: nn.Module,
    teacher: nn.Module,
    data: Given,
    *,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> dict[str, Alignment]:
    """Alignment of the gradients at clean images, fp32, eval mode: of the cross-entropy and of the true label's logit.

    The IGDM paper reports both means without saying which scalar's gradient is taken; these are the two usual ones.
    An image whose gradient vanishes in one network counts as cosine 0.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.
        data: images and labels, as in `evaluate`.
        batch_size: images at once; the means do not depend on it.

    Returns:
        By scalar, `cross_entropy` and `true_logit`.

    Raises:
        ValueError: a network does not fit the data.

    Example:
        >>> import advdistill as ad
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> gradient_alignment(model, model, test.first(20))["cross_entropy"].distance
        0.0
    """
    split, device = placed(student, data, device)
    first, second = (EvaluatedModel(network, split, device) for network in (student, teacher))
    context = Context(first, split, batch_size=batch_size, device=device)
    with exact():
        return {name: _alignment(context, second, scalar) for name, scalar in SCALARS.items()}


def _alignment(context: Context, teacher: nn.Module, scalar: Loss) -> Alignment:
    cosines, apart = [], []
    for _, x, y in context.batches():
        first, second = (input_gradient(net, x, y, scalar).flatten(1) for net in (context.model, teacher))
        cosines.append(torch.cosine_similarity(first, second, dim=1))
        apart.append((first - second).norm(dim=1))
    return Alignment(torch.cat(cosines).mean().item(), torch.cat(apart).mean().item())


def input_gradient(network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, scalar: Loss = cross_entropy) -> Tensor:
    """The gradient of a loss in the images.

    Args:
        network: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        x: images `[B, C, H, W]` in [0, 1].
        y: labels `[B]`.
        scalar: logits `[B, K]` and labels `[B]` to `[B]`.

    Returns:
        `[B, C, H, W]`
    """
    leaf = x.detach().clone().requires_grad_()
    with naming("The comparison of input gradients"):
        return torch.autograd.grad(scalar(network(leaf), y).sum(), leaf)[0]


def pointwise_distance(
    student: nn.Module,
    teacher: nn.Module,
    data: Given,
    threat: Threat | str | float | None = None,
    *,
    x_adv: Tensor | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Means over the images of ||T(x + d) - S(x + d)||_2, the distance of the logits, fp32, eval mode.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.
        data: images and labels, as in `evaluate`.
        threat: `None` is Linf 8/255.
        x_adv: the adversarial images `[N, C, H, W]`, where they were found before; `None` searches for them.

    Returns:
        By where d comes from: `uniform` in the threat's ball, x + d not brought back into the pixel range; and
        `adversarial`, PGD-20 with step eps / 4 on the student's cross-entropy, the x' of evaluation's `pgd-20`.

    Raises:
        ValueError: a network does not fit the data.
    """
    split, device = placed(student, data, device)
    first, second = (EvaluatedModel(network, split, device) for network in (student, teacher))
    threat = as_threat(threat)
    context = Context(first, split, threat, seed=seed, batch_size=batch_size, device=device)
    found: dict[str, list[Tensor]] = {"uniform": [], "adversarial": []}
    attack = pgd_20(threat)
    with torch.no_grad(), exact():
        for start, x, y in context.batches():
            near = {"uniform": x + threat.sample(x, context.rng(start, "uniform"))}
            if x_adv is None:
                near["adversarial"] = context.attack(attack, start, x, y).x_adv
            else:
                near["adversarial"] = x_adv[start : start + len(x)].to(x.device)
            for name, moved in near.items():
                found[name].append((second(moved) - first(moved)).norm(dim=1))
    return {name: torch.cat(norms).mean().item() for name, norms in found.items()}


def linearity_remainder(
    model: nn.Module,
    data: Given,
    threat: Threat | str | float | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> float:
    """Mean over the images of what the linearisation at x misses of the logits f at x + d, fp32, eval mode.

        || f(x + d) - f(x) - J d ||_2 / || f(x + d) ||_2,   J = df/dx at x,   d uniform in the threat's ball

    x + d is not brought back into the pixel range. J d is taken in forward mode (torch.func.jvp): exact, in the memory
    of two forward passes, where the double-backward trick differentiates twice.

    Args:
        model: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        data: images and labels, as in `evaluate`.
        threat: `None` is Linf 8/255, the ball of the figures in the IGDM paper.

    Returns:
        The mean, at least 0; 0 where f is linear in the ball.

    Raises:
        ValueError: the model does not fit the data.
        NotImplementedError: torch knows no forward derivative of one of the model's operations; it names which.
    """
    split, device = placed(model, data, device)
    model, threat = EvaluatedModel(model, split, device), as_threat(threat)
    context = Context(model, split, threat, seed=seed, batch_size=batch_size, device=device)
    found = []
    with torch.no_grad(), exact():  # the remainder of a robust network is hardly larger than TF32's rounding
        for start, x, _ in context.batches():
            d = threat.sample(x, context.rng(start, "uniform"))
            at_x, change = torch.func.jvp(model, (x,), (d,))[:2]
            moved = model(x + d)
            found.append((moved - at_x - change).norm(dim=1) / moved.norm(dim=1).clamp(min=1e-12))
    return torch.cat(found).mean().item()
