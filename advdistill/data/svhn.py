"""SVHN, cropped: 32 x 32 colour images of house numbers' digits, from the two official MATLAB files.

Reference: Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning. 2011.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._internal.download import Remote, download
from .._internal.packages import require
from .source import GIVE_FOLDER, Dataset, Folder, contains, exclusive, missing, places

_URL = "http://ufldl.stanford.edu/housenumbers"
_REMOTES = {
    "train": Remote(
        url=f"{_URL}/train_32x32.mat",
        size=182_040_794,
        sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    ),
    "test": Remote(
        url=f"{_URL}/test_32x32.mat",
        size=64_275_384,
        sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    ),
}


def _read(split: str, folder: Folder) -> tuple[Tensor, Tensor]:
    file = _locate(_REMOTES[split], folder)
    content = _content(file)
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None or images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise ValueError(f"{file} is not SVHN: expected X, uint8 [32, 32, 3, N], and y.")
    digits = labels.ravel().astype(np.int64) % 10  # the files label the digit 0 as 10
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1))), torch.from_numpy(digits)


def _content(file: Path) -> dict[str, np.ndarray]:
    load = require("scipy.io", "SVHN", "data").loadmat
    try:
        return load(file, variable_names=["X", "y"])
    except Exception as error:  # scipy raises many kinds of exceptions for damaged files
        raise ValueError(f"{file} is not a complete MATLAB file: {error}. Download it again.") from None


def _locate(remote: Remote, folder: Folder) -> Path:
    searched = places("svhn", folder)
    for place in searched:
        if contains(place, [remote.name]):
            return place / remote.name
    advice = f"Download {remote.url} and give its folder: {GIVE_FOLDER}."
    if folder:
        raise missing("svhn", searched[0], [remote.name], advice)
    home = searched[-1]
    with exclusive(home):
        if contains(home, [remote.name]):  # another process was faster
            return home / remote.name
        try:
            return download(remote, home / remote.name)
        except ConnectionError as error:
            raise ConnectionError(f"svhn: the official site is not reachable ({error}). {advice}") from error


SVHN = Dataset(
    name="svhn",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    sizes={"train": 73_257, "test": 26_032},
    source="ufldl.stanford.edu/housenumbers",
    how="downloaded on first use (174 and 61 MB), or give a folder with train_32x32.mat and test_32x32.mat",
    read=_read,
)
