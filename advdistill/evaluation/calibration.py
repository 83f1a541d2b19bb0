"""Calibration: whether a network is right as often as it is sure."""

import torch
from torch import Tensor

__all__ = ["calibration_error"]


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: the gap between accuracy and confidence, over bins of equal width.

        ECE = sum_m |B_m| / N  |accuracy(B_m) - confidence(B_m)|,   B_m the images with confidence in ((m-1)/M, m/M]

    Confidence is the probability of the predicted class; the softmax is taken in float64.

    Args:
        logits: `[N, K]`.
        labels: `[N]`.
        bins: M.

    Reference: Guo et al., On Calibration of Modern Neural Networks. ICML 2017.

    Raises:
        ValueError: no bin or no image, logits and labels that do not belong together, or logits that are not finite.
    """
    _check(logits, labels, bins)
    confidence = logits.double().softmax(1).amax(1)
    right = (logits.argmax(1) == labels).double()
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    gaps = confidence.new_zeros(bins).index_add(0, torch.bucketize(confidence, inner), right - confidence)
    return (gaps.abs().sum() / len(labels)).item()


def _check(logits: Tensor, labels: Tensor, bins: int) -> None:
    if bins < 1:
        raise ValueError(f"Calibration needs at least 1 bin, got bins={bins}. The usual number is 15.")
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        shapes = f"{list(logits.shape)} and {list(labels.shape)}"
        raise ValueError(f"Calibration is of logits [N, K] and labels [N], N > 0; these have {shapes}.")
    if not logits.isfinite().all():
        raise ValueError("Logits that are NaN or infinite have no calibration.")
