"""Measure the time that digests of networks and data add to the start of a run, and comparing them to a resume.

    python benchmarks/digests.py --out benchmarks/results/digests.md

The data are CIFAR-10 in memory, and a folder of 100,000 PNGs of 32 x 32 pixels, read into memory and streamed.
CIFAR-10 is downloaded unless it is in the cache.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from receipt import receipt

from advdistill import data, models
from advdistill._internal.files import write_atomic
from advdistill.data import Split
from advdistill.train.inputs import Inputs, data_digests, network_digests

NETWORKS = ("resnet18", "wide_resnet-34-10")
CLASSES = 10


@dataclass
class Options:
    images: int = 100_000
    """Files in the folder; a fifth of them are held out as the test split."""
    repeats: int = 5
    """Number of measurements; the table shows their median."""
    out: Path | None = None


def main(options: Options) -> None:
    rows = [networks_row(options)]
    split, loading = loaded("cifar10")
    rows.append(data_row(f"CIFAR-10, {len(split):,} training images in memory", split, loading, options))
    print("\n".join(rows), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ADVDISTILL_DATA"] = scratch
        folder = Path(scratch, "pictures")
        paint(folder, options.images)
        for stream, what in ((False, "in memory"), (True, "streamed, first start"), (True, "streamed, later start")):
            split, loading = loaded(str(folder), stream)
            rows.append(data_row(f"folder of {options.images:,} PNGs, {what}", split, loading, options))
            print(rows[-1], flush=True)
    head = ("what", "MB", "loading s", "digests s (start and resume)", "comparing s (resume)")
    table = [f"| {' | '.join(head)} |", "|---|---:|---:|---:|---:|", *rows]
    text = "\n".join([
        "# Cost of a run's digests of networks and data\n", receipt(), f"- median of {options.repeats}\n",
        "At the start of a training, the first process computes digests of networks and data, which the state records. "
        "A resume computes the digests again and [compares them](../../docs/endurance.md#what-a-run-began-with).\n",
        *table, "",
    ])  # fmt: skip
    print(text)
    if options.out:
        write_atomic(options.out, lambda temporary: temporary.write_text(text))


def loaded(name: str, stream: bool = False) -> tuple[Split, str]:
    """Return a training split, and the seconds that loading took."""
    began = time.perf_counter()
    split = data.load(name, "train", stream=stream)
    return split, f"{time.perf_counter() - began:.1f}"


def networks_row(options: Options) -> str:
    student, teacher = (models.create(name) for name in NETWORKS)
    size = sum(p.nbytes for network in (student, teacher) for p in network.parameters())
    what = f"networks: {' and '.join(NETWORKS)}"
    return row(what, size, "", lambda: network_digests(student, {"robust": teacher}, ()), options)


def data_row(what: str, split: Split, loading: str, options: Options) -> str:
    held_out = split.holdout(0.1, 0)[1]
    size = int(np.prod(split.images.shape))
    return row(what, size, loading, lambda: data_digests(split, held_out), options)


def row(what: str, size: int, loading: str, digests: Callable[[], dict[str, str]], options: Options) -> str:
    seconds, found = median(digests, options.repeats)
    compared, _ = median(lambda: Inputs(dict(found)).resume(found, {}, 1, "run", False), options.repeats)
    return f"| {what} | {size / 1e6:.0f} | {loading} | {seconds:.3f} | {compared:.6f} |"


def median(call, repeats: int):
    """Return the median seconds of a call, and what the call returns."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2], found


def paint(folder: Path, images: int) -> None:
    from PIL import Image

    random = np.random.RandomState(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    for i in range(images):
        noise = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / str(i % CLASSES) / f"{i}.png", compress_level=0)


if __name__ == "__main__":
    main(tyro.cli(Options))
