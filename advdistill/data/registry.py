"""The known datasets, by name."""

import os
from typing import Any

from .._internal.messages import unknown
from . import own
from .cifar import CIFAR10, CIFAR100
from .digits import DIGITS
from .fashion_mnist import FASHION_MNIST
from .own.collection import Collection, Found
from .own.pictures import Arrays
from .source import Dataset, Folder
from .split import Split
from .svhn import SVHN
from .tiny_imagenet import TINY_IMAGENET

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        CIFAR10,
        CIFAR100,
        DIGITS,
        FASHION_MNIST,
        SVHN,
        TINY_IMAGENET,
    )
}


def names() -> list[str]:
    """Return the names that `load` accepts, besides paths and references to your own data.

    Returns:
        The names, in alphabetical order.

    >>> names()
    ['cifar10', 'cifar100', 'digits', 'fashion_mnist', 'svhn', 'tiny_imagenet']
    """
    return sorted(_DATASETS)


def load(
    name: str | os.PathLike[str], split: str, folder: Folder = None, size: int | None = None,
    stream: bool | None = False, *,
    bits: int | None = None, skip_broken: bool = False, image_column: str | None = None,
    label_column: str | None = None, validation: str | None = None,
) -> Split:
    """Read one split of a dataset, which is downloaded first if necessary and possible.

    Args:
        name: one of `names()`; or your data: a folder of images, a .npz, .csv, .tsv or .parquet, or `hf:OWNER/NAME`.
        split: `"train"` or `"test"`; for your own data with a validation part also `"val"`.
        folder: the folder that holds the dataset, or its parent; nothing is downloaded into it. By default
            the environment variable `ADVDISTILL_DATA`, else `~/.cache/advdistill/data`, each dataset in a
            subfolder of its name. For your own tables: the folder of the images.
        size: for your own images: resize the shorter side to `size`, then take a centre crop.
        stream: for your own image files: decode them when they are needed, in worker processes; `None` does so only
            if they do not fit into memory.
        bits: for your own images of 16 bits: how many bits the camera used; the brightest pixel is 2 ** bits - 1.
        skip_broken: skip your own images that cannot be read, and list them on standard error.
        image_column, label_column: the names of these columns in your own table, or of these arrays in your .npz.
        validation: the name of your validation part, if it is not called val, valid or validation.

    Returns:
        The split, with images uint8 `[N, C, H, W]` and labels int64 `[N]`.

    Raises:
        TypeError: `name` is neither text nor a path.
        ValueError: an unknown name or split, a folder without the dataset, a damaged file, images that cannot be
            read or differ in size.
        FileNotFoundError: the path does not exist.
        ConnectionError: the dataset is not on this machine and could not be downloaded.
        ImportError: an optional package is missing.

    >>> load("digits", "test").shape
    (1, 8, 8)
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"Data are named by text or a path, such as 'cifar10' or 'flowers'; got {name!r}.")
    name = os.fspath(name)
    if name not in _DATASETS and own.is_reference(name):
        reading = own.Reading(size, stream, bits, skip_broken, image_column, label_column, validation)
        return own.load(name, split, folder, reading)
    dataset = _find(name)
    options = {"bits": bits, "skip_broken": skip_broken or None, "image_column": image_column,
               "label_column": label_column, "validation": validation}
    for option, value in options.items():
        if value is not None:
            raise ValueError(f"data.{option} ({value}) is for your own images, and {name} is not; leave it out.")
    if split not in dataset.sizes:
        raise ValueError(f"Unknown split {split!r} of {name}. Known: {', '.join(dataset.sizes)}.")
    if size not in (None, dataset.shape[1]):
        side = dataset.shape[1]
        raise ValueError(f"{name} has images of {side} x {side}; data.size ({size}) is for your own images; omit it.")
    if stream:
        raise ValueError(f"{name} is read into memory; data.stream is for your own image files. Leave it out.")
    images, labels = dataset.read(split, folder)
    return Split(images, labels, dataset.classes, f"{name}/{split}")


def collect(name: str, folder: Folder = None) -> Collection:
    """Return both splits of a dataset as pictures, to survey them before training.

    Args:
        name, folder: as in `load`.

    Returns:
        The parts `train` and `test`, and the class names.

    Raises:
        ValueError, FileNotFoundError, ConnectionError, ImportError: as in `load`.

    >>> {part: len(found.labels) for part, found in collect("digits").parts.items()}
    {'train': 1197, 'test': 600}
    """
    if name not in _DATASETS and own.is_reference(name):
        return own.collect(name, folder)
    splits = {split: load(name, split, folder) for split in _find(name).sizes}
    parts = {part: _pictures(split) for part, split in splits.items()}
    return Collection.of(name, Found(parts, _find(name).classes))


def _pictures(split: Split) -> tuple[Arrays, list[str]]:
    images = split.images[:]  # a tensor
    return Arrays(images.permute(0, 2, 3, 1).numpy(), split.name), [split.classes[y] for y in split.labels]


def describe() -> list[dict[str, Any]]:
    """Describe the known datasets.

    Returns:
        For each dataset, ready for JSON: `name`, number of `classes`, `shape` `[C, H, W]`, number of images of each
        split, `source`, and `how` to get it.

    >>> [row["shape"] for row in describe() if row["name"] == "digits"]
    [[1, 8, 8]]
    """
    return [
        {
            "name": dataset.name,
            "classes": len(dataset.classes),
            "shape": list(dataset.shape),
            **dataset.sizes,
            "source": dataset.source,
            "how": dataset.how,
        }
        for dataset in (_DATASETS[name] for name in names())
    ]


def _find(name: str) -> Dataset:
    if name not in _DATASETS:
        raise ValueError(f"{unknown('dataset', name, _DATASETS)} There is no file or folder of that name either.")
    return _DATASETS[name]
