"""Fashion-MNIST: 28 x 28 grey images of clothes, from its four IDX files.

Reference: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms.
2017, arXiv:1708.07747.
"""

from pathlib import Path

import torch
from torch import Tensor

from . import idx
from .dataset import Dataset, Folder
from .folders import holds, missing, places

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_HOW = "apt install dataset-fashion-mnist, or the four files from github.com/zalandoresearch/fashion-mnist"


def _read(split: str, folder: Folder) -> tuple[Tensor, Tensor]:
    images_file, labels_file = _locate(split, folder)
    images = torch.from_numpy(idx.read(images_file, dims=3))
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_file} holds images of {list(images.shape[1:])} pixels, expected [28, 28].")
    return images[:, None], torch.from_numpy(idx.read(labels_file, dims=1)).long()


def _locate(split: str, folder: Folder) -> list[Path]:
    searched = places("fashion_mnist", folder)
    for place in searched if folder else [*searched, _DEBIAN]:
        for suffix in ("", ".gz"):
            files = [file + suffix for file in _FILES[split]]
            if holds(place, files):
                return [place / file for file in files]
    raise missing("fashion_mnist", searched[0 if folder else -1], files, f"Get them: {_HOW}.")


FASHION_MNIST = Dataset(
    name="fashion_mnist",
    classes=tuple(
        "T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot".split(", ")
    ),
    shape=(1, 28, 28),
    sizes={"train": 60_000, "test": 10_000},
    source="Zalando Research",
    how=_HOW,
    read=_read,
)
