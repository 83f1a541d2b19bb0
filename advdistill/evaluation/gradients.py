"""Similarity of two networks in input gradients, which IGDM aligns, and in logits, and the linearity of one network."""

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
from .networks import EvaluatedModel, split_and_device

__all__ = ["Alignment", "gradient_alignment", "input_gradient", "linearity_remainder", "pointwise_distance"]


def true_logit(logits: Tensor, y: Tensor) -> Tensor:
    """Return the logit of each image's label, `[B]`."""
    return logits.gather(1, y[:, None]).squeeze(1)


SCALARS: dict[str, Loss] = {"cross_entropy": cross_entropy, "true_logit": true_logit}


@dataclass(frozen=True)
class Alignment:
    """Cosine and L2 distance of two networks' input gradients, each averaged over the images."""

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
    """Compare two networks' input gradients at clean images, in fp32 and eval mode.

    The gradients are of the cross-entropy and of the true label's logit. The IGDM paper reports both means without
    saying which scalar is differentiated; these are the two usual ones. An image whose gradient vanishes in one network
    counts as cosine 0.

    Args:
        student, teacher: map `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they are not modified.
        data: images and labels, as in `evaluate`.
        batch_size: has no effect; images are passed in blocks of a fixed size.

    Returns:
        An `Alignment` for each scalar, `cross_entropy` and `true_logit`.

    Raises:
        ValueError: a network does not fit the data.

    Example:
        >>> import advdistill as ad
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> gradient_alignment(model, model, test.first(20))["cross_entropy"].distance
        0.0
    """
    split, device = split_and_device(student, data, device)
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
    """Return the gradient of a loss with respect to the images.

    Args:
        network: maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        x: images `[B, C, H, W]` in [0, 1].
        y: labels `[B]`.
        scalar: maps logits `[B, K]` and labels `[B]` to `[B]`.

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
    """Return the mean over the images of ||T(x + d) - S(x + d)||_2, the distance of the logits, in fp32 and eval mode.

    Args:
        student, teacher: map `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they are not modified.
        data: images and labels, as in `evaluate`.
        threat: `None` is Linf 8/255.
        x_adv: the adversarial images `[N, C, H, W]`, if already computed; `None` searches for them.

    Returns:
        Two means, by the choice of d: `uniform` in the threat's ball, with x + d not clamped to the pixel range; and
        `adversarial`, PGD-20 with step size eps / 4 on the student's cross-entropy, the x' of `pgd-20` in `evaluate`.

    Raises:
        ValueError: a network does not fit the data.
    """
    split, device = split_and_device(student, data, device)
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
    """Return the mean relative error of the linearisation at x of the logits f at x + d, in fp32 and eval mode.

        || f(x + d) - f(x) - J d ||_2 / || f(x + d) ||_2,   J = df/dx at x,   d uniform in the threat's ball

    x + d is not clamped to the pixel range. J d is computed in forward mode (torch.func.jvp): exactly, in the memory of
    two forward passes, whereas the double-backward trick differentiates twice.

    Args:
        model: maps `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it is not modified.
        data: images and labels, as in `evaluate`.
        threat: `None` is Linf 8/255, the ball of the figures in the IGDM paper.

    Returns:
        The mean, at least 0; 0 if f is linear in the ball.

    Raises:
        ValueError: the model does not fit the data.
        NotImplementedError: torch has no forward derivative for one of the model's operations, which is named.
    """
    split, device = split_and_device(model, data, device)
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
