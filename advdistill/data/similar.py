"""Find generated images that are nearly test images: training on them is training on the test split."""

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
FEW = 20_000  # images compared at the start of a run; `advdistill preflight` compares all
CHUNK = 2048


@dataclass(frozen=True)
class Similar:
    """The result of a comparison.

    Attributes:
        places: indices of generated images that are nearly test images, at most ten of them.
        count: number of all such images.
        compared: number of generated images that were compared.
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
    """Compare generated images with all images of a test split, both reduced to 8 x 8.

    Args:
        most: compare only the first `most` images; `None` compares all.
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
    """Return the images, reduced to at most 8 x 8 and flattened to `[N, D]`."""
    x = to_float(images.to(device))
    return (F.adaptive_avg_pool2d(x, SIDE) if max(x.shape[2:]) > SIDE else x).flatten(1)
