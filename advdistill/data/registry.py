"""The known datasets, by name."""

from ..names import unknown
from .cifar10 import CIFAR10
from .cifar100 import CIFAR100
from .dataset import Dataset, Folder
from .digits import DIGITS
from .fashion_mnist import FASHION_MNIST
from .split import Split
from .tiny_imagenet import TINY_IMAGENET

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        CIFAR10,
        CIFAR100,
        DIGITS,
        FASHION_MNIST,
        TINY_IMAGENET,
    )
}


def names() -> list[str]:
    """The names that `load` understands."""
    return sorted(_DATASETS)


def load(name: str, split: str, folder: Folder = None) -> Split:
    """Read one split of a dataset, fetching the dataset first where that is possible.

    Args:
        name: one of `names()`.
        split: `"train"` or `"test"`.
        folder: the folder that holds the dataset, or its parent; nothing is downloaded into it. By default
            the environment variable `ADVDISTILL_DATA`, else `~/.cache/advdistill/data`, each dataset in a
            subfolder by its name.

    Raises:
        ValueError: an unknown name or split, a folder that is not the dataset, or a damaged file.
        ConnectionError: the dataset is not here and could not be fetched.
        ImportError: an optional package is missing.
    """
    dataset = _find(name)
    if split not in dataset.sizes:
        raise ValueError(f"Unknown split {split!r} of {name}. Known: {', '.join(dataset.sizes)}.")
    images, labels = dataset.read(split, folder)
    return Split(images, labels, dataset.classes, f"{name}/{split}")


def describe() -> list[dict]:
    """One JSON-ready dictionary per dataset: name, classes, shape, sizes, source and how to get it."""
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
        raise unknown("dataset", name, _DATASETS)
    return _DATASETS[name]
