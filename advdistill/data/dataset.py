"""What a dataset tells about itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Folder = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Dataset:
    """A dataset and how to read it.

    Args:
        name: what the user types.
        classes: the classes' names, in the order of the labels.
        shape: channels, height and width of one image.
        sizes: number of images of each split.
        source: where it comes from, in a few words.
        how: how to get it, in one line.
        read: `(split, folder)` to uint8 images `[N, C, H, W]` and int64 labels `[N]`.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    sizes: dict[str, int]
    source: str
    how: str
    read: Callable[[str, Folder], tuple[Tensor, Tensor]]
