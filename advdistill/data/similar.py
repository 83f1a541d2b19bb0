"""Generated images that are nearly images of the test split: to train on them is to train on the test."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import to_float
from .extra import Extra
from .split import Split

__all__ = ["FEW", "THRESHOLD", "Similar", "similar_to_test"]

THRESHOLD = 0.02  # root mean square over pixels of 8 x 8, in [0, 1]: 5 of 255 levels
SIDE = 8
FEW = 20_000  # images that are compared at the start of a run; all are by `advdistill preflight`
CHUNK = 2048


@dataclass(frozen=True)
class Similar:
    """What a comparison found.

    Attributes:
        places: generated images that are nearly test images, at most ten of them.
        count: how many there are.
        compared: generated images that were compared.
        test: name of the test split.
    """

    places: tuple[int, ...]
    count: int
    compared: int
    test: str

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.places)) + (", ..." if self.count > len(self.places) else "")
        return (
            f"{self.count} of {self.compared:,} generated images are nearly images of {self.test} (at most "
            f"{THRESHOLD:g} apart, root mean square over {SIDE} x {SIDE} pixels): {shown}. Accuracies on that split "
            "would be too high; take them out of data.extra."
        )


def similar_to_test(extra: Extra, test: Split, most: int | None = None, device: torch.device | str = "cpu") -> Similar:
    """Compare generated images with all of a test split, made smaller to 8 x 8.

    Args:
        most: compare the first so many only; `None` compares all.
    """
    compared = min(len(extra), most or len(extra))
    known = torch.cat([_small(test.images[i : i + CHUNK], device) for i in range(0, len(test), CHUNK)])
    found: list[int] = []
    for begin in range(0, compared, CHUNK):
        index = torch.arange(begin, min(begin + CHUNK, compared))
        nearest = torch.cdist(_small(extra.read(index), device), known).amin(1) / known.shape[1] ** 0.5
        found += (begin + (nearest <= THRESHOLD).nonzero()[:, 0].cpu()).tolist()
    return Similar(tuple(found[:10]), len(found), compared, test.name)


def _small(images: Tensor, device: torch.device | str) -> Tensor:
    """`[N, D]`: images of at most 8 x 8."""
    x = to_float(images.to(device))
    return (F.adaptive_avg_pool2d(x, SIDE) if max(x.shape[2:]) > SIDE else x).flatten(1)
