"""Scikit-learn's handwritten digits: 8 x 8 grey images inside the package, so nothing is downloaded."""

import numpy as np
import torch
from torch import Tensor

from .._internal.packages import require
from .source import Dataset, Folder
from .split import draw, fingerprint

_TEST_PER_CLASS = 60
_SEED = 0
_FINGERPRINTS = {"train": "a24752f3f61e", "test": "b94169546686"}


def _read(split: str, folder: Folder) -> tuple[Tensor, Tensor]:
    if folder:
        raise ValueError(f"digits come with scikit-learn, not from a folder; leave out {folder}.")
    bunch = require("sklearn.datasets", "digits", "data").load_digits()
    chosen = _indices(bunch.target, split)
    pixels = np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8)
    images, labels = torch.from_numpy(pixels)[:, None], torch.from_numpy(bunch.target[chosen]).long()
    _check(split, fingerprint(images, labels))
    return images, labels


def _indices(labels: np.ndarray, split: str) -> np.ndarray:
    test = draw(labels, [_TEST_PER_CLASS] * 10, _SEED)
    return test if split == "test" else np.setdiff1d(np.arange(len(labels)), test)


def _check(split: str, found: str) -> None:
    if found != _FINGERPRINTS[split]:
        raise ValueError(
            f"digits/{split} has fingerprint {found}, expected {_FINGERPRINTS[split]}: "
            "this scikit-learn has other images, so results would not be comparable."
        )


DIGITS = Dataset(
    name="digits",
    classes=tuple("0123456789"),
    shape=(1, 8, 8),
    sizes={"train": 1197, "test": 600},
    source="scikit-learn, from the UCI handwritten digits",
    how='pip install "advdistill[data]"',
    read=_read,
)
