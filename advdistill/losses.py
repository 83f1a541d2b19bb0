"""Losses: logits in, one number per example out. The mean is taken once, by `Distiller`."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Loss", "cross_entropy", "jensen_shannon", "kl", "margin", "probabilities", "smoothed"]

Loss = Callable[[Tensor, Tensor], Tensor]  # logits [B, K] and labels [B] to [B]


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0, offset: float = 0.0) -> Tensor:
    """KL(softmax(target / t) || softmax(logits / t)), summed over the classes, in nats.

    Gradients flow into both arguments: TRADES and AdaAD need the gradient into `target`. There is no factor t^2.

    Args:
        target: logits of the teacher (the distribution to match), `[B, K]`.
        logits: logits of the student, `[B, K]`.
        temperature: divides both logits.
        offset: added to the target's probability inside its logarithm; 1e-5 in the RSLAD and MTARD releases, where it
            changes the value but not the student's gradient.

    Returns:
        `[B]`

    Example:
        >>> import torch
        >>> from advdistill.losses import kl
        >>> teacher, student = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
        >>> kl(teacher, student)
        tensor([0.3278, 0.0000])
    """
    log_p = F.log_softmax(target / temperature, dim=1)
    log_q = F.log_softmax(logits / temperature, dim=1)
    if offset:
        p = log_p.exp()
        return (p * ((p + offset).log() - log_q)).sum(1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence, the mean KL of both to their mean (softmax(first) + softmax(second)) / 2, in nats.

    Gradients flow into both arguments, and into the mean.

    Args:
        first: logits `[B, K]`.
        second: logits `[B, K]`.

    Returns:
        `[B]`, at most log 2.

    Example:
        >>> import torch
        >>> from advdistill.losses import jensen_shannon
        >>> jensen_shannon(torch.tensor([[9.0, -9.0], [1.0, 0.0]]), torch.tensor([[-9.0, 9.0], [1.0, 0.0]]))
        tensor([0.6931, 0.0000])
    """
    middle = torch.logaddexp(first.log_softmax(1), second.log_softmax(1)) - math.log(2)
    return (kl(first, middle) + kl(second, middle)) / 2


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of logits with labels, in nats.

    Args:
        logits: `[B, K]`.
        y: labels `[B]`, or distributions over the classes `[B, K]`.

    Returns:
        `[B]`

    Example:
        >>> import torch
        >>> from advdistill.losses import cross_entropy
        >>> cross_entropy(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]))
        tensor([0.1269, 0.6931])
    """
    return F.cross_entropy(logits, y, reduction="none")


def smoothed(y: Tensor, smoothing: float, classes: int) -> Tensor:
    """(1 - smoothing) y + smoothing / K: labels as distributions with some mass on every class.

    Args:
        y: labels `[B]`, or distributions `[B, K]`.
        smoothing: in [0, 1).
        classes: K.

    Returns:
        `[B, K]`

    Reference: Szegedy et al., Rethinking the Inception Architecture for Computer Vision. CVPR 2016, arXiv:1512.00567.

    Example:
        >>> import torch
        >>> from advdistill.losses import smoothed
        >>> smoothed(torch.tensor([1]), 0.1, 4)
        tensor([[0.0250, 0.9250, 0.0250, 0.0250]])
    """
    whole = F.one_hot(y, classes).float() if y.ndim == 1 else y
    return (1 - smoothing) * whole + smoothing / classes


def margin(logits: Tensor, y: Tensor, confidence: float = float("inf")) -> Tensor:
    """max_{k != y} z_k - z_y, positive if the example is misclassified.

    Args:
        logits: z `[B, K]`.
        y: labels `[B]`.
        confidence: larger values are clamped to this one, so that they have no gradient.

    Returns:
        `[B]`, in units of the logits.

    Reference: Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks. S&P 2017, f_6.

    Example:
        >>> import torch
        >>> from advdistill.losses import margin
        >>> margin(torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1]))
        tensor([-1.,  3.])
    """
    true = F.one_hot(y, logits.shape[1]).bool()
    best_other = logits.masked_fill(true, -float("inf")).amax(1)
    return (best_other - logits[true]).clamp(max=confidence)


def probabilities(logits: Tensor, y: Tensor) -> Tensor:
    """The probability of each label, softmax(z)_y.

    Args:
        logits: z `[B, K]`.
        y: labels `[B]`.

    Returns:
        `[B]` in [0, 1].

    Example:
        >>> import torch
        >>> from advdistill.losses import probabilities
        >>> probabilities(torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 2]))
        tensor([0.6652, 0.9094])
    """
    return logits.softmax(1).gather(1, y[:, None]).squeeze(1)
