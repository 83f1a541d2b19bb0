"""Mix a million generated images of 32 x 32 into training batches: memory, time, generated images per batch.

    python benchmarks/extra_data.py --images 1000000

The .npz file, 3 GB, is written to a temporary folder. Memory is the peak resident set of this process, minus the
resident set before the file was opened; Linux only.
"""

import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
import tyro
from machine import Memory
from receipt import receipt

from advdistill.data import Split
from advdistill.data.batches import Batches
from advdistill.data.extra import open_extra
from advdistill.data.with_extra import MixedBatches, WithExtra

SHAPE, CLASSES = (3, 32, 32), tuple("0123456789")
CHUNK = 10_000


def main(images: int = 1_000_000, batch_size: int = 512, fraction: float = 0.7, folder: Path | None = None) -> None:
    real = Split(torch.randint(256, (50_000, *SHAPE), dtype=torch.uint8), torch.arange(50_000) % 10, CLASSES, "real")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file = Path(scratch, "extra.npz")
        write(file, images)
        plain = timed(Batches(real, batch_size, "crop_flip"))
        memory = Memory()
        began = time.perf_counter()
        extra = open_extra([str(file)], SHAPE, CLASSES)
        opened = time.perf_counter() - began
        began = time.perf_counter()
        digest = extra.digest
        digested = time.perf_counter() - began
        both = WithExtra(real.images, real.labels, CLASSES, "real", extra=extra, fraction=fraction)
        batches = MixedBatches(both, batch_size, "crop_flip")
        seconds = timed(batches)
        shares = {int((share.index >= len(real)).sum()) for epoch in range(2) for share in batches.epoch(epoch)}
        size = file.stat().st_size
    print(f"{receipt()}\n\n| | |\n|---|--:|\n| generated images | {images:,} |\n| file | {size / 2**20:,.0f} MiB |")
    print(f"| peak memory added | {memory.peak():.0f} MiB |")
    print(f"| opening the file, reading labels | {opened:.2f} s |")
    print(f"| computing the digest, {digest} | {digested:.2f} s |")
    print(f"| generated images in each of {2 * len(batches)} batches of {batch_size} | {shares} |")
    print(f"| time per batch, real images only | {1000 * plain:.1f} ms |\n| time per batch | {1000 * seconds:.1f} ms |")


def write(file: Path, images: int) -> None:
    """Write the file in the format of np.savez, in chunks, sorted by class."""
    random = np.random.RandomState(0)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, shape, dtype in (("image", (images, 32, 32, 3), "|u1"), ("label", (images,), "<i8")):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for begin in range(0, images, CHUNK):
                    count = min(CHUNK, images - begin)
                    rows = random.randint(256, size=(count, *shape[1:]), dtype=np.uint8)
                    label = np.arange(begin, begin + count) * 10 // images
                    member.write((rows if name == "image" else label.astype("<i8")).tobytes())


def timed(batches: Batches) -> float:
    """Return the seconds per batch, the mean of an epoch."""
    began = time.perf_counter()
    for _ in batches.epoch(0):
        pass
    return (time.perf_counter() - began) / len(batches)


if __name__ == "__main__":
    tyro.cli(main)
