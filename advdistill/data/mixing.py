"""Mixup and CutMix: two images of a batch in one, and the distribution over their labels."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .._internal.rng import generator
from .augment import Augment

__all__ = ["mixed"]


def mixed(x: Tensor, y: Tensor, classes: int, augment: Augment, key: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Mix a whole batch, over all processes, with a permutation of itself.

        mixup    x = l x_i + (1 - l) x_j,   l ~ Beta(a, a)
        cutmix   a rectangle of x_j in x_i, its sides sqrt(1 - l) of the image's, around any pixel, cut at the image's
                 sides; l is then the share of x_i that is left

    There is one l, one permutation and one rectangle for the batch, as in the released codes; with both kinds each
    batch has one of them, either with probability 1/2.

    Args:
        x: images `[B, C, H, W]`.
        y: labels `[B]`.
        classes: K.
        key: what the draws depend on, seed, epoch and step.

    Returns:
        The images, and distributions over the classes `[B, K]`.

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
    """First and last pixel, that one not included, of one side of the rectangle."""
    length, centre = math.floor(side * math.sqrt(1 - share)), int(draws.integers(side))
    return max(0, centre - length // 2), min(side, centre - length // 2 + length)
