"""Read files of many megabytes, whole and damaged: peak memory, as a multiple of what the file holds.

    python tests/hostile/heavy.py --out benchmarks/results/heavy.md
"""

import argparse
import ctypes
import gc
import gzip
import io
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.dont_write_bytecode = True
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from guarded import guarded  # noqa: E402
from mutations import mutated  # noqa: E402
from receipt import receipt  # noqa: E402
from safetensors.torch import save  # noqa: E402

from advdistill import data, models  # noqa: E402
from advdistill.data.fashion_mnist import read_idx  # noqa: E402
from examples import loaded, made, sealed, state, torch_bytes  # noqa: E402

IMAGES = 20_000


@dataclass(frozen=True)
class Heavy:
    """A large file of one form, and the function that reads it."""

    content: Callable[[], bytes]
    name: str
    read: Callable[[Path], object]
    holds: int | None = None
    """Bytes of the uncompressed content; `None` if the file is not compressed: then the file's size."""
    seal: bool = False


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.create("resnet18")


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(IMAGES, 32, 32, 3), dtype=np.uint8)


def idx_bytes() -> bytes:
    grey = pixels()[..., 0]
    return bytes([0, 0, 8, 3]) + np.array(grey.shape, ">u4").tobytes() + grey.tobytes()


def npz(write) -> bytes:
    stream = io.BytesIO()
    write(stream, images=pixels(), labels=np.arange(IMAGES) % 10)
    return stream.getvalue()


def parquet() -> bytes:
    import pyarrow
    from PIL import Image
    from pyarrow.parquet import write_table

    def png(image: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        return stream.getvalue()

    stream = io.BytesIO()
    cells = [{"bytes": png(image), "path": "x.png"} for image in pixels()[:5000]]
    write_table(pyarrow.table({"image": cells, "label": [i % 10 for i in range(5000)]}), stream)
    return stream.getvalue()


def train(path: Path) -> object:
    return data.load(str(path), "train")


RAW = 3072 * IMAGES
STATE = state(network(), (2, 3, 32, 32))  # as in a run, which has a state before it loads one
FILES = {
    "state.pt": Heavy(lambda: torch_bytes(STATE._values()), "state.pt", lambda f: STATE.load(f), seal=True),
    "advdistill checkpoint": Heavy(
        made(lambda file: models.save(network(), file), ".safetensors"), "m.safetensors", lambda f: loaded(str(f))),
    "checkpoint, foreign safetensors": Heavy(
        lambda: save(network().state_dict()), "m.safetensors", lambda f: loaded(f"{f}?arch=resnet18")),
    "checkpoint, .pt": Heavy(lambda: torch_bytes(network().state_dict()), "m.pt", lambda f: loaded(str(f))),
    "IDX": Heavy(idx_bytes, "x-idx3-ubyte", lambda f: read_idx(f, 3)),
    "IDX, gzip": Heavy(lambda: gzip.compress(idx_bytes(), 1), "x.gz", lambda f: read_idx(f, 3), RAW // 3),
    "CIFAR": Heavy(lambda: bytes(3073 * 10_000), "cifar-10-batches-bin/test_batch.bin",
                   lambda f: data.load("cifar10", "test", f.parents[1])),
    "npz": Heavy(lambda: npz(np.savez), "x.npz", train),
    "npz, compressed": Heavy(lambda: npz(np.savez_compressed), "x.npz", train, RAW),
    "parquet": Heavy(parquet, "x.parquet", train, 3072 * 5000 * 2),
}  # fmt: skip


def main(damaged: int, seed: int, out: Path | None) -> int:
    torch.set_num_threads(1)
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as place:
        for name, heavy in FILES.items():
            lines.append(row(name, heavy, damaged, seed, Path(place)))
            print(lines[-1], flush=True)
    if out:
        out.write_text("\n".join([ABOUT, *lines, "", receipt(), ""]))
    return 0


def row(name: str, heavy: Heavy, damaged: int, seed: int, place: Path) -> str:
    content, file = heavy.content(), place / name.replace(" ", "-") / heavy.name
    file.parent.mkdir(parents=True)
    holds = heavy.holds or len(content)
    kinds, most, slowest = [], {"whole": 0.0, "damaged": 0.0}, 0.0
    trim = ctypes.CDLL("libc.so.6").malloc_trim
    for number in range(damaged + 2):  # the first read imports what later reads need
        draw = random.Random(f"{seed}/{name}/{number}")
        form = "whole" if number < 2 else "damaged"
        changed = content if form == "whole" else mutated(content, draw)
        file.write_bytes(sealed(changed) if heavy.seal and draw.random() < 0.9 else changed)
        del changed
        gc.collect()
        trim(0)  # return freed memory, which reading would reuse unmeasured
        outcome = guarded(lambda: heavy.read(file), file.parent)
        if number < 2 and outcome.kind != "fine":
            raise RuntimeError(f"{name}, whole: {outcome.said}")
        if number:
            kinds.append(outcome.kind)
            most[form] = max(most[form], outcome.megabytes * 2**20 / holds)
            slowest = max(slowest, outcome.milliseconds)
    counts = " | ".join(str(kinds.count(kind)) for kind in ("clear", "fine", "other"))
    return f"| {name} | {holds / 1e6:.0f} | {counts} | {slowest:.0f} | {most['whole']:.2f} | {most['damaged']:.2f} |"


ABOUT = f"""# Large files, whole and damaged

The same test as for [hostile files](hostile.md), with files of up to {RAW / 1e6:.0f} MB. Memory is the rise of the peak
resident memory while a file was read, as a multiple of what the file holds: its size, or the size of its pixels if they
are compressed.
"""
COLUMNS = "holds, MB | clear errors | read fine | other exceptions | slowest, ms | memory, whole | memory, damaged"
HEAD = f"| form | {COLUMNS} |\n|---|--:|--:|--:|--:|--:|--:|--:|"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--damaged", type=int, default=20, help="files of each form")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    sys.exit(main(**vars(parser.parse_args())))
