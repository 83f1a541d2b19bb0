"""The binary format of CIFAR-10 and CIFAR-100: records of label bytes, then 3 x 32 x 32 pixels."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .dataset import Folder
from .release import Release

_PIXELS = 3 * 32 * 32


def read(release: Release, split: str, folder: Folder, label_bytes: int) -> tuple[Tensor, Tensor]:
    """Images uint8 `[N, 3, 32, 32]` and labels int64 `[N]`; the last label byte of a record counts.

    Raises:
        ValueError: a folder without the dataset, or a file that is not made of whole records.
    """
    home = release.locate(split, folder)
    records = [_records(home / file, label_bytes + _PIXELS) for file in release.files[split]]
    images = np.concatenate([record[:, label_bytes:] for record in records])
    labels = np.concatenate([record[:, label_bytes - 1] for record in records])
    return torch.from_numpy(images).view(-1, 3, 32, 32), torch.from_numpy(labels).long()


def _records(file: Path, length: int) -> np.ndarray:
    size = file.stat().st_size
    if size == 0 or size % length:
        raise ValueError(f"{file} has {size} bytes; expected whole records of {length} bytes.")
    return np.memmap(file, np.uint8, "r").reshape(-1, length)
