"""Every file format that the package opens, with a valid example and a function that reads it from a folder."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save, save_file

from advdistill import Run, data
from advdistill.data.fashion_mnist import read_idx
from advdistill.data.source import unpack
from advdistill.train.status import status
from examples import (
    BATCH,
    BEAT,
    EPOCHS,
    LABELS,
    MASKING,
    NAMES,
    PIXELS,
    RECIPE,
    REFERENCES,
    RESULT,
    SPEC,
    VERDICTS,
    ZOO,
    archived,
    both,
    continued,
    idx_bytes,
    inspection,
    ipc,
    loaded,
    made,
    matlab,
    network,
    own,
    parquet,
    picture,
    pictures,
    reference,
    repacked,
    run_folder,
    saved,
    shown,
    state,
    torch_bytes,
    unfinished,
)  # fmt: skip

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """A file format: `write(folder, bytes)` puts the file `name` into a folder, and `read(folder)` opens it there.

    Attributes:
        share: relative number of mutated files of this format.
    """

    valid: Callable[[], bytes]
    name: str
    read: Callable[[Path], object]
    prepare: Callable[[Path], None] = lambda folder: None
    share: int = 1
    seal: bool = False

    def write(self, folder: Path, content: bytes) -> None:
        file = folder / self.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


FORMATS = {
    "recipe.yaml": Format(lambda: RECIPE.to_yaml().encode(), "recipe.yaml", lambda f: Run(f).recipe, share=6),
    "recipe.yaml of a run compared": Format(lambda: RECIPE.to_yaml().encode(), "recipe.yaml", shown, run_folder, 2),
    "result.json": Format(made(RESULT.save), "result.json", shown, run_folder, 3),
    "result.masking.json": Format(lambda: json.dumps(MASKING).encode(), "result.masking.json", shown, run_folder),
    "result.verdicts.safetensors": Format(
        lambda: save(VERDICTS, {"fingerprint": RESULT.fingerprint, "threat": RESULT.threat, "seed": "0"}),
        "result.verdicts.safetensors", shown, run_folder),
    "result.inspection.safetensors": Format(
        made(lambda file: inspection().save(file)), "result.inspection.safetensors", shown, run_folder, 3),
    "result.unfinished.safetensors": Format(
        lambda: save({"clean": torch.ones(20, dtype=torch.uint8), "clean.seconds": torch.ones(20)},
                     {"fingerprint": "x"}), "result.unfinished.safetensors", unfinished, share=2),
    "metrics.jsonl, reported": Format(
        lambda: "".join(json.dumps(row) + "\n" for row in EPOCHS).encode(), "metrics.jsonl", shown, run_folder, 2),
    "metrics.jsonl, continued": Format(
        lambda: "".join(json.dumps(row) + "\n" for row in EPOCHS).encode(), "metrics.jsonl",
        continued),
    "heartbeat.json": Format(
        lambda: json.dumps(BEAT).encode(), "heartbeat.json", lambda f: status(Run(f)), run_folder, 2),
    "state.pt": Format(lambda: torch_bytes(state()._values()), "state.pt", lambda f: state().load(f / "state.pt"),
                       share=6, seal=True),
    "advdistill checkpoint": Format(
        lambda: save(network().state_dict(), {"format": "advdistill", "spec": SPEC}), "best.safetensors",
        lambda f: loaded(str(f)), share=6),
    "checkpoint, foreign safetensors": Format(
        lambda: save(network().state_dict()), "m.safetensors",
        lambda f: loaded(f"{f}/m.safetensors?arch=convnet-4"), share=3),
    "checkpoint, .pt": Format(
        lambda: torch_bytes({"state_dict": {f"module.{k}": v for k, v in network().state_dict().items()}}), "m.pt",
        lambda f: loaded(f"{f}/m.pt?arch=convnet-4"), share=6),
    "checkpoint, .pt of old": Format(
        lambda: torch_bytes(network().state_dict(), _use_new_zipfile_serialization=False), "m.pth",
        lambda f: loaded(f"{f}/m.pth?arch=convnet-4"), share=3),
    "model reference": Format(lambda: REFERENCES, "reference", reference,
                              lambda f: save_file(network().state_dict(), f / "m.safetensors"), share=3),
    "model reference, zoo": Format(lambda: ZOO, "reference", reference, share=2),
    "IDX": Format(lambda: idx_bytes((5, 6, 7)), "x-idx3-ubyte", lambda f: read_idx(f / "x-idx3-ubyte", 3), share=5),
    "IDX, gzip": Format(lambda: gzip.compress(idx_bytes((5, 6, 7))), "x.gz", lambda f: read_idx(f / "x.gz", 3),
                        share=4),
    "CIFAR": Format(lambda: bytes(3073 * 3), BATCH, lambda f: data.load("cifar10", "test", f), share=3),
    "tar.gz": Format(archived, "x.tar.gz", lambda f: unpack(f / "x.tar.gz", f), share=2),
    "tar in it": Format(lambda: gzip.decompress(archived()), "x.tar",
                        repacked(lambda f: unpack(f / "x.tar.gz", f)), share=5),
    "npz": Format(made(lambda file: np.savez(file, images=PIXELS, labels=LABELS), ".npz"), "x.npz",
                  lambda f: both(str(f / "x.npz")), share=5),
    "npz, compressed": Format(made(lambda file: np.savez_compressed(file, images=PIXELS, labels=LABELS), ".npz"),
                              "x.npz", lambda f: both(str(f / "x.npz")), share=3),
    "CSV": Format(lambda: ("path,label\n" + "".join(f"{c}/{i}.png,{c}\n" for c in NAMES for i in range(3))).encode(),
                  "x.csv", lambda f: both(str(f / "x.csv")), pictures, 3),
    "PNG": Format(picture("PNG"), "cat/0.png", own, pictures, 3),
    "JPEG": Format(picture("JPEG"), "cat/0.jpg", own, pictures, 3),
    "GIF": Format(picture("GIF"), "cat/0.gif", own, pictures, 2),
    "WebP": Format(picture("WEBP"), "cat/0.webp", own, pictures),
    "TIFF": Format(picture("TIFF", compression="tiff_lzw"), "cat/0.tif", own, pictures, 2),
    "BMP": Format(picture("BMP"), "cat/0.bmp", own, pictures),
    "PPM": Format(picture("PPM"), "cat/0.ppm", own, pictures),
    "parquet": Format(made(parquet), "x.parquet", lambda f: both(str(f / "x.parquet")), share=4),
    "Arrow": Format(made(ipc), "data.arrow", own, saved, 3),
    "Arrow's state.json": Format(lambda: json.dumps({"_data_files": [{"filename": "data.arrow"}]}).encode(),
                                 "state.json", own, lambda f: ipc(f / "data.arrow")),
    "MATLAB (SVHN)": Format(made(matlab, ".mat"), "test_32x32.mat", lambda f: data.load("svhn", "test", f), share=2),
}  # fmt: skip
