"""Handmade malicious files: reading those of `REFUSED` must raise a clear error, reading those of `ANSWERED` none."""

import gzip
import os
import tarfile
from pathlib import Path

import numpy as np
import torch
from formats import FORMATS
from makers import (
    DEEP,
    EVIL,
    LAUGHS,
    MERGED,
    OWN_LOOP,
    SPARSE_TENSOR,
    Evil,
    Maker,
    announced,
    answered,
    asked,
    beside,
    chain,
    evil_torch,
    file,
    link,
    model,
    nothing,
    npy,
    npy_header,
    npz,
    ours,
    pax,
    picture,
    png,
    recipe,
    repeating,
    safetensors,
    sparse,
    spec,
    special,
    stored,
    tar,
    tensor,
    unpacked,
    zip_bomb,
)  # fmt: skip

from advdistill import Run, data, models, recipes
from advdistill.data.fashion_mnist import read_idx
from advdistill.models.checkpoint import provenance
from advdistill.train.logging import Metrics
from examples import PIXELS, loaded, network, run_folder, sealed, shown, state, torch_bytes

__all__ = ["ANSWERED", "REFUSED"]


def train(path: Path) -> None:
    data.load(str(path), "train")


MOMENTUM = {
    "state": {0: {"momentum_buffer": torch.zeros(1).double().expand(10**11)}},
    "param_groups": [{"params": [0]}],
}

REFUSED: dict[str, Maker] = {
    # pickles
    "pickle.pt": model("m.pt", EVIL),
    "pickle.pth": model("m.pth", EVIL),
    "pickle.ckpt": model("m.ckpt", evil_torch()),
    "pickle in the old form": model("m.pt", evil_torch(legacy=True)),
    "pickle.safetensors": model("m.safetensors", EVIL),
    "pickle as state.pt, with its checksum": file(
        "state.pt", sealed(evil_torch()), lambda path: state().load(path)),
    "pickle in place of CIFAR": file(
        "cifar-10-batches-py/data_batch_1", EVIL, lambda path: data.load("cifar10", "train", path.parent)),
    "pickle named as CIFAR's batch": file(
        "test_batch.bin", EVIL, lambda path: data.load("cifar10", "test", path.parent)),
    "npz of objects": file(
        "x.npz", npz(images=npy(np.array([Evil()] * 4, object)), labels=npy(np.arange(4))),
        train),
    # recipes
    "YAML that runs Python": recipe("!!python/object/apply:os.system ['touch ../outside/pwned']"),
    "YAML that runs Python, inside": recipe("seed: !!python/object/apply:os.system ['touch ../outside/pwned']"),
    "YAML, a million laughs": recipe(LAUGHS),
    "YAML, a billion merges": recipe(MERGED),
    "YAML in itself": recipe("method: &a {rslad: *a}"),
    "YAML, deep": recipe(b"[" * 3_000),
    "YAML, long": recipe(b"epochs: 3\n" * 100_000),
    "YAML, no text": recipe(b"\xff\xfe\x00epochs: 3"),
    "YAML, control characters": recipe(b"student: \x1b[2Jconvnet-4"),
    "YAML, a number for a name": recipe("1: 2"),
    "YAML, a tag that does not fit": recipe("epochs: !!int ''"),
    "YAML, a date that is none": recipe("epochs: !!timestamp x"),
    "recipe of 10 ** 400 epochs": recipe(f"epochs: {10**400}"),
    "recipe of an eps without end": recipe("attack: {threat: {linf: '1e999999999'}}"),
    "recipe of an eps of many digits": recipe(f"attack: {{threat: {{linf: '{'9' * 60_000}/255'}}}}"),
    "recipe whose second milestone is text": recipe("schedule: {milestones: [0.5, x]}"),
    "recipe of a method that is code": recipe("method: os:system"),
    "recipe of a method in no module": recipe("method: '..x:Y'"),
    "recipe with a teacher that is code": file(
        "recipe.yaml", b"teacher: 'python:evil.py:make'", lambda path: models.load(Run(path.parent).recipe.teacher)),
    "recipe of an endless student": file(
        "recipe.yaml", b"student: wide_resnet-6000004-1", lambda path: models.create(Run(path.parent).recipe.student)),
    "recipe that is empty": recipe(""),
    # checkpoints
    "safetensors, a header of 2 ** 63 bytes": model("m.safetensors", safetensors({}, length=2**63)),
    "safetensors, a header of 99 MB": model("m.safetensors", safetensors({}, length=99_000_000)),
    "safetensors, a deep header": model("m.safetensors", safetensors(b'{"a":' * 10_000)),
    "safetensors, overlapping": model(
        "m.safetensors", safetensors({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, bytes(24))),
    "safetensors, before the beginning": model(
        "m.safetensors", safetensors({"a": tensor([4], -16, 0)}, bytes(16))),
    "safetensors, beyond the end": model(
        "m.safetensors", safetensors({"a": tensor([2**40], 0, 2**42)}, bytes(16))),
    "safetensors, a shape that overflows": model(
        "m.safetensors", safetensors({"a": tensor([2**62, 2**62], 0, 16)}, bytes(16))),
    "header of ours that is no JSON": ours(spec().replace(b'{\\"name\\"', b'{\\"nam\\\\\\"')),
    "header of ours, 10 ** 30 classes": ours(spec(num_classes=10**30)),
    "header of ours, -1 channels": ours(spec(in_channels=-1)),
    "header of ours, a list for a name": ours(spec(name=["x"])),
    "header of ours, a network without end": ours(spec(name="wide_resnet-6000004-1")),
    "header of ours, a network that is code": ours(spec(name="python:os:system")),
    "header of ours, text for a mean": ours(spec(mean=["x"])),
    ".pt that is a bomb": model("m.pt", zip_bomb),
    ".pt of one number shown as many": model(
        "m.pt", torch_bytes({**network().state_dict(), "linear.weight": announced((10**9, 16))})),
    ".pt of a mean without end": model(
        "m.pt", torch_bytes({**network().state_dict(), "mean": announced((10**10,)), "std": announced((10**10,))})),
    ".pt of a sparse giant": model(
        "m.pt", torch_bytes({**network().state_dict(), "linear.weight": SPARSE_TENSOR})),
    ".pt of a giant without bytes": model(
        "m.pt", torch_bytes({**network().state_dict(), "linear.weight": torch.empty(10**9, 64, device="meta")})),
    ".pt in itself": model("m.pt", torch_bytes(OWN_LOOP)),
    ".pt of a list": model("m.pt", torch_bytes([1, 2])),
    ".pt of long names": model("m.pt", torch_bytes({"module." * 100_000 + "x": torch.zeros(1)})),
    ".pt of escapes": model("m.pt", torch_bytes({"\x1b[2J" * 50: 1})),
    "state.pt of a list": file("state.pt", sealed(torch_bytes([1])), lambda path: state().load(path)),
    "state.pt without a position": file("state.pt", sealed(torch_bytes({})), lambda path: state().load(path)),
    "state.pt of text": file(
        "state.pt", lambda: sealed(torch_bytes(state()._values() | {"method": [{"a": "b"}]})),
        lambda path: state().load(path)),
    "state.pt, its momentum without end": file(
        "state.pt", lambda: sealed(torch_bytes(state()._values() | {"optimizer": MOMENTUM})),
        lambda path: state().load(path)),
    "state.pt, a step that is text": file(
        "state.pt", lambda: sealed(torch_bytes(state()._values() | {"position": vars(state().at) | {"step": "x"}})),
        lambda path: state().load(path)),
    # references
    "reference to nobody's home": lambda folder: lambda: models.load("~nobody-of-this-name/x.pt"),
    "reference to a device": lambda folder: lambda: models.load("/dev/zero"),
    "reference with zeros": lambda folder: lambda: models.load("a\0b.pt"),
    "reference, very long": lambda folder: lambda: models.load("x" * 2000),
    "reference to a million classes": lambda folder: lambda: models.load("zoo:convnet-16?num_classes=1000000000000"),
    "reference to code": lambda folder: lambda: models.load("python:os:system"),
    # archives
    "tar to ..": unpacked(tar(("../outside/pwned", b"x", {}))),
    "tar with a link out": unpacked(tar(
        ("out", b"", {"type": tarfile.SYMTYPE, "linkname": "../outside"}), ("out/pwned", b"x", {}))),
    "tar with a hard link out": unpacked(tar(("out", b"", {"type": tarfile.LNKTYPE, "linkname": "../outside/kept"}))),
    "tar with a link to nothing": unpacked(tar(("out", b"", {"type": tarfile.LNKTYPE, "linkname": "nothing"}))),
    "tar with a device": unpacked(tar(("dev", b"", {"type": tarfile.CHRTYPE}))),
    "tar of 1 TB": unpacked(sparse),
    "tar of a thousand times its size": unpacked(tar(*[(f"{i}", bytes(2**24), {}) for i in range(17)])),
    "tar whose header has 300 MB": unpacked(lambda: pax(300 * 2**20)),
    "tar of headers of headers": unpacked(lambda: chain(tarfile.XHDTYPE)),
    "tar of thousands of files": unpacked(gzip.compress(
        b"".join([tarfile.TarInfo(f"d{i % 7}").tobuf() for i in range(5_000)]), 1)),
    # images and tables
    "IDX of 2 ** 96 bytes": file("x", bytes([0, 0, 8, 3]) + b"\xff" * 12, lambda path: read_idx(path, 3)),
    "IDX of 4 GB, packed": file(
        "x.gz", gzip.compress(bytes([0, 0, 8, 1]) + b"\xff" * 4 + bytes(5_000_000)), lambda path: read_idx(path, 1)),
    "npz of 10 TB": file(
        "x.npz", npz(images=npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 1000, 1000)}\n"),
                     labels=npy(np.arange(4))), train),
    "npz, a header of brackets": file(
        "x.npz", npz(images=npy_header("(" * 9000), labels=npy(np.arange(4))), train),
    "npz with a password": file(
        "x.npz", npz(images=npy(PIXELS), labels=npy(np.arange(8) % 2)).replace(
            b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"), train),
    "PNG of 10 ** 10 pixels": picture(png(100_000, 100_000)),
    "PNG of 2 ** 62 pixels": picture(png(2**31 - 1, 2**31 - 1)),
    "PNG of 60 million pixels that are not there": picture(png(7_000, 8_000)),
    "table that leads out": file(
        "x.csv", b"path,label\n../../../etc/passwd,a\nb,b\n", train),
    "parquet that repeats a row": file("x.parquet", lambda: repeating(5_000, 10_000), train),
    "table of one line": file("x.csv", b"path,label\n" + b'"' * 300_000, train),
    # files next to a result
    "result.json, deep": beside("result.json", DEEP),
    "result.json, no text": beside("result.json", b"\xff\xfe"),
    "result.json, empty": beside("result.json", b""),
    "result.json of no images": beside("result.json", FORMATS["result.json"].valid().replace(b'"n": 20', b'"n": 0')),
    "result.json, more right than there are": beside(
        "result.json", FORMATS["result.json"].valid().replace(b'"n": 20', b'"n": 3')),
    "result.json of 10 ** 400 images": beside(
        "result.json", FORMATS["result.json"].valid().replace(b'"n": 20', b'"n": 1' + b"0" * 400)),
    "result.masking.json, deep": beside("result.masking.json", DEEP),
    "metrics.jsonl, deep": beside("metrics.jsonl", DEEP + b"\n" + DEEP),
    "metrics.jsonl, no end of epochs": beside("metrics.jsonl", b'{"epoch": Infinity, "robust": 0.5}\n'),
    "metrics.jsonl, 10 ** 400": beside("metrics.jsonl", b'{"epoch": 1, "lr": 1' + b"0" * 400 + b"}\n"),
    "inspection, deep": beside(
        "result.inspection.safetensors",
        safetensors({"__metadata__": {"inspection": DEEP.decode(), "examples": "[]"}})),
    "verdicts of another type": beside(
        "result.verdicts.safetensors", safetensors({"clean": {"dtype": "BF16", "shape": [20], "data_offsets": [0, 40]}},
                                                   bytes(40))),
    # not regular files
    **{f"pipe as {name}": special(name, os.mkfifo, run_folder, read) for name, read in {
        "recipe.yaml": lambda f: Run(f).recipe, "result.json": shown, "metrics.jsonl": shown,
        "result.inspection.safetensors": shown, "result.verdicts.safetensors": shown,
        "best.safetensors": lambda f: loaded(str(f)), "state.pt": lambda f: state().load(f / "state.pt"),
        "m.pt": lambda f: models.load(f"{f}/m.pt"), "x.csv": lambda f: data.load(str(f / "x.csv"), "train"),
    }.items()},
    "pipe as a recipe": special("r.yaml", os.mkfifo, nothing, lambda f: recipes.load(str(f / "r.yaml"))),
    **{f"folder as {name}": special(name, os.mkdir, run_folder, read) for name, read in {
        "recipe.yaml": lambda f: Run(f).recipe, "result.json": shown, "metrics.jsonl": shown,
        "result.inspection.safetensors": shown, "best.safetensors": lambda f: loaded(str(f)),
        "state.pt": lambda f: state().load(f / "state.pt"), "m.pt": lambda f: models.load(f"{f}/m.pt?arch=convnet-4"),
    }.items()},
    "endless device as recipe.yaml": link("recipe.yaml", "/dev/zero", run_folder, lambda f: Run(f).recipe),
    **{f"empty {name}": model(name, b"") for name in ("m.pt", "m.pth", "m.safetensors")},
    # links out of a run
    "metrics.jsonl that leads out": link(
        "metrics.jsonl", "../outside/new", nothing, lambda f: Metrics(f / "metrics.jsonl", 0).write({"step": 1})),
    "tensorboard that leads out": link(
        "tensorboard", "../outside", nothing, lambda f: Metrics(f / "metrics.jsonl", 0).write({"step": 1})),
    "images that lead out": link("result.adv", "../outside", nothing, stored),
    "best.safetensors that leads out": link(
        "best.safetensors", "/etc/passwd", run_folder, lambda f: provenance(str(f)) or loaded(str(f))),
}  # fmt: skip

ANSWERED: dict[str, Maker] = {
    "tar to /": unpacked(tar(("/advdistill-pwned", b"x", {}))),  # unpacked inside the folder
    "heartbeat.json, a list": answered("heartbeat.json", b"[]", asked),
    "heartbeat.json, deep": answered("heartbeat.json", DEEP, asked),
    "heartbeat.json, no text": answered("heartbeat.json", b"\xff\xfe", asked),
    "heartbeat.json, text for numbers": answered(
        "heartbeat.json", b'{"state": "running", "time": "x", "step": []}', asked),
    "pipe as heartbeat.json": special("heartbeat.json", os.mkfifo, run_folder, asked),
    "metrics.jsonl, rows that are none": answered("metrics.jsonl", b"[1]\n{}\n" + DEEP + b"\n3\n", asked),
    "lock that leads out": link(".lock", "../outside/kept", run_folder, asked),
    "recipe with a list for a seed": answered("recipe.yaml", b"seed: [1]\n", shown),
    "an attack that is markup": answered(
        "result.json", FORMATS["result.json"].valid().replace(b'"clean"', b'"[/x]"'), shown),
}  # fmt: skip
