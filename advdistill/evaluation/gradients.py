"""How alike two networks are: their input gradients, which IGDM sets out to align, and their logits near an image."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._internal.rng import Rng
from ..attacks.pgd import Objective
from ..attacks.suites import pgd
from ..data import Split
from ..data.batches import in_order
from ..losses import Loss, cross_entropy
from ..threat import Linf, Threat
from .networks import Judged

__all__ = ["Alignment", "gradient_alignment", "pointwise_distance", "linearity_remainder"]

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
    student: nn.Module, teacher: nn.Module, split: Split, *, batch_size: int = 256, device: torch.device | str = "cpu"
) -> dict[str, Alignment]:
    """Alignment of the gradients at clean images, fp32, eval mode: of the cross-entropy and of the true label's logit.

    The IGDM paper reports both means without saying which scalar's gradient is taken; these are the two usual ones.
    An image whose gradient vanishes in one network counts as cosine 0.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.

    Raises:
        ValueError: a network does not fit the split.
    """
    networks = [Judged(network, split, device) for network in (student, teacher)]
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return {name: _alignment(networks, scalar, split, batch_size, device) for name, scalar in SCALARS.items()}


def pointwise_distance(
    student: nn.Module,
    teacher: nn.Module,
    split: Split,
    threat: Threat | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    x_adv: Tensor | None = None,
) -> dict[str, float]:
    """Means over the images of ||T(x + d) - S(x + d)||_2, the distance of the logits, fp32, eval mode.

    Args:
        student, teacher: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; they stay as they are.
        threat: `None` is Linf 8/255.
        x_adv: the adversarial images `[N, C, H, W]`, where they were found before.

    Returns:
        By where d comes from: `uniform` in the threat's ball, x + d not brought back into the pixel range; and
        `adversarial`, PGD-20 with step eps / 4 on the student's cross-entropy, the x' of evaluation's `pgd-20`.

    Raises:
        ValueError: a network does not fit the split.
    """
    first, second = (Judged(network, split, device) for network in (student, teacher))
    threat = threat or Linf("8/255")
    found: dict[str, list[Tensor]] = {"uniform": [], "adversarial": []}
    attack = pgd(20, threat)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start, x, y in in_order(split, batch_size, device):
            near = {"uniform": x + threat.sample(x, Rng(seed, "uniform", start, device=device))}
            if x_adv is None:
                near["adversarial"] = attack(_climbed(first, y), x, Rng(seed, "attack", start, device=device))
            else:
                near["adversarial"] = x_adv[start : start + len(x)].to(device)
            for name, moved in near.items():
                found[name].append((second(moved) - first(moved)).norm(dim=1))
    return {name: torch.cat(distances).mean().item() for name, distances in found.items()}


def _climbed(network: nn.Module, y: Tensor) -> Objective:
    return lambda x_adv: cross_entropy(network(x_adv), y)


def _alignment(
    networks: Iterable[Judged], scalar: Loss, split: Split, batch_size: int, device: torch.device | str
) -> Alignment:
    cosines, distances = [], []
    for _, x, y in in_order(split, batch_size, device):
        first, second = (_gradient(network, scalar, x, y) for network in networks)
        cosines.append(torch.cosine_similarity(first, second, dim=1))
        distances.append((first - second).norm(dim=1))
    return Alignment(torch.cat(cosines).mean().item(), torch.cat(distances).mean().item())


def _gradient(network: nn.Module, scalar: Loss, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(scalar(network(leaf), y).sum(), leaf)[0].flatten(1)


def linearity_remainder(
    model: nn.Module,
    split: Split,
    threat: Threat | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """Mean over the images of what the linearisation at x misses of the logits f at x + d, fp32, eval mode.

        || f(x + d) - f(x) - J d ||_2 / || f(x + d) ||_2,   J = df/dx at x,   d uniform in the threat's ball

    x + d is not brought back into the pixel range. J d is taken in forward mode (torch.func.jvp): exact, in the memory
    of two forward passes, where the double-backward trick differentiates twice.

    Args:
        model: `[B, C, H, W]` in [0, 1] to logits `[B, K]`; it stays as it is.
        threat: `None` is Linf 8/255, the ball of the figures in the IGDM paper.

    Raises:
        ValueError: the model does not fit the split.
        NotImplementedError: torch knows no forward derivative of one of the model's operations; it names which.
    """
    judged, threat, found = Judged(model, split, device), threat or Linf("8/255"), []
    # TF32 rounds to three digits, and the remainder of a robust network is hardly larger
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start, x, _ in in_order(split, batch_size, device):
            d = threat.sample(x, Rng(seed, "uniform", start, device=device))
            found.append(_remainder(judged, x, d))
    return torch.cat(found).mean().item()


def _remainder(network: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    at_x, change = torch.func.jvp(network, (x,), (d,))[:2]
    moved = network(x + d)
    return (moved - at_x - change).norm(dim=1) / moved.norm(dim=1).clamp(min=1e-12)
