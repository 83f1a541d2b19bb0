"""Compare images read batch by batch with images in memory: a short epoch at 64 x 64 and at 224 x 224.

    python benchmarks/streaming.py --out benchmarks/results/streaming.md

The images are scikit-learn's digits, enlarged, with noise as in a photograph; half PNG, half JPEG. Linux only: memory
is read from /proc.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from receipt import receipt

from advdistill import PGD, Data, Linf, Recipe, Schedule, data, distill, methods
from advdistill._internal.files import write_atomic
from advdistill.data.batches import Batches

STEPS = 2  # of the attack: about the least computation per image that robust training has
CLASSES = 4


@dataclass
class Options:
    images: int = 400
    """Training images; there are a quarter as many test images."""
    sides: tuple[int, ...] = (64, 224)
    student: str = "convnet-4"
    batch_size: int = 32
    out: Path | None = None
    one: tuple[str, int, bool] | None = None
    """Used by the benchmark itself: folder, side, whether to stream; prints one measurement as JSON."""


def main(options: Options) -> None:
    if options.one:
        print(json.dumps(measured(options, *options.one)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ADVDISTILL_DATA"] = scratch
        for side in options.sides:
            folder = Path(scratch, f"digits-{side}")
            paint(folder, side, options.images)
            rows += [row(options, folder, side, stream, label) for stream, label in (
                (False, "memory"), (True, "stream, first start"), (True, "stream, later start"),
            )]  # fmt: skip
            print(*rows[-3:], sep="\n", flush=True)
    head = ("images", "read", "start s", "images/s", "waiting for data", "peak memory MB", "decoding processes MB")
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]
    text = "\n".join([
        "# Streaming compared with images in memory\n", receipt(), "",
        f"One epoch of PGD-AT (PGD-{STEPS}) of {options.student} on {options.images} images in batches of "
        f"{options.batch_size}; the weights are equal to the last bit, however the images are read.\n", *table, "",
    ])  # fmt: skip
    if options.out:
        write_atomic(options.out, lambda temporary: temporary.write_text(text))


def paint(folder: Path, side: int, images: int) -> None:
    """Write digits of a few classes as colour images of `side` x `side` pixels."""
    from PIL import Image

    random = np.random.RandomState(0)
    for split, n in (("train", images), ("test", images // 4)):
        digits = data.load("digits", split)
        for label in range(CLASSES):
            (home := folder / split / str(label)).mkdir(parents=True)
            for i, image in enumerate(digits.images[digits.labels == label][: n // CLASSES]):
                large = Image.fromarray(image[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
                noisy = np.asarray(large)[..., None] + random.normal(0, 12, (side, side, 3))
                ending = "png" if i % 2 else "jpg"
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(home / f"{i}.{ending}")


def row(options: Options, folder: Path, side: int, stream: bool, label: str) -> str:
    command = [sys.executable, __file__, "--one", str(folder), str(side), str(stream), "--student", options.student]
    command += ["--batch-size", str(options.batch_size)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    cells = (
        f"{side} x {side}", label, f"{found['start']:.1f}", f"{found['rate']:.0f}", f"{found['waiting']:.1%}",
        f"{found['memory']:.0f}", f"{found['workers']:.0f}" if stream else "",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def measured(options: Options, folder: str, side: int, stream: bool) -> dict[str, float]:
    """Measure the second of two epochs; the first is a warm-up."""
    times, began = Times(), time.perf_counter()
    data.load(folder, "train", stream=stream)
    start = time.perf_counter() - began
    Batches.epoch = times.around(Batches.epoch)
    recipe = Recipe(
        method=methods.build("pgd_at"), student=options.student, data=Data(folder, stream=stream, augment="crop_flip"),
        attack=PGD(STEPS, "2/255", Linf("4/255")), schedule=Schedule("constant"),
        epochs=2, batch_size=options.batch_size, validate_every=2,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        distill(recipe, Path(out, "run"), accelerator="cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"start": start, "memory": peak} | times.last


class Times:
    """Measures images per second of an epoch, and the share of its time spent waiting for the next batch."""

    warm, workers = False, 0.0  # memory is measured in the first epoch, time in the second

    def around(self, epoch):
        def timed(batches, *arguments, **options):
            began, waiting, images = time.perf_counter(), 0.0, 0
            shares = epoch(batches, *arguments, **options)
            while True:
                before = time.perf_counter()
                share = next(shares, None)
                waiting += time.perf_counter() - before
                if share is None:
                    break
                images += len(share.y)
                if not self.warm:
                    self.workers = max(self.workers, private())
                yield share
            whole = time.perf_counter() - began
            self.warm = True
            self.last = {"rate": images / whole, "waiting": waiting / whole, "workers": self.workers}

        return timed


def private() -> float:
    """Return the private memory of this process's children in megabytes."""
    files = [Path(f"/proc/{child.pid}/smaps_rollup") for child in multiprocessing.active_children()]
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    return sum(int(line[1]) for line in lines if line[0].startswith("Private")) / 1024


if __name__ == "__main__":
    main(tyro.cli(Options))
