"""Mixup and CutMix: mix pairs of images of a batch, and their labels into distributions."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .._internal.rng import generator
from .augment import Augment

__all__ = ["mixed"]


def mixed(x: Tensor, y: Tensor, classes: int, augment: Augment, key: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Mix a global batch, that of all processes, with a permutation of itself.

        mixup    x = l x_i + (1 - l) x_j,   l ~ Beta(a, a)
        cutmix   a rectangle of x_j in x_i, its sides sqrt(1 - l) of the image's, around a random pixel, clipped to
                 the image; l is then the share of x_i that is left

    There is one l, one permutation and one rectangle for the batch, as in the released code. With both kinds, each
    batch uses one of them, with probability 1/2 each.

    Args:
        x: images `[B, C, H, W]`.
        y: labels `[B]`.
        classes: the number of classes K.
        key: seed, epoch and step, on which the draws depend.

    Returns:
        The mixed images, and distributions over the classes `[B, K]`.

    Reference: Zhang et al., mixup: Beyond Empirical Risk Minimization. ICLR 2018, arXiv:1710.09412. Yun et al.,
    CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features. ICCV 2019, arXiv:1905.04899.
    """
    rng = generator(*key, "mix")
    draws = np.random.Generator(np.random.PCG64(rng.initial_seed()))
    cut = bool(augment.cutmix) and (not augment.mixup or draws.random() < 0.5)
    share = float(draws.beta(*(augment.cutmix if cut else augment.mixup,) * 2))
    other = torch.randperm(len(x), generator=rng).to(x.device)
    if cut:
        height, width = x.shape[2:]
        (top, bottom), (left, right) = (_span(draws, side, share) for side in (height, width))
        x = x.clone()
        x[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        x = share * x + (1 - share) * x[other]
    labels = F.one_hot(y, classes).to(x.dtype)
    return x, share * labels + (1 - share) * labels[other]


def _span(draws: np.random.Generator, side: int, share: float) -> tuple[int, int]:
    """Return the first pixel of one side of the rectangle, and the first after it."""
    length, centre = math.floor(side * math.sqrt(1 - share)), int(draws.integers(side))
    return max(0, centre - length // 2), min(side, centre - length // 2 + length)
