"""Build hostile files: a maker is a function that puts one into a folder and returns a function that reads it."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from advdistill import Run
from advdistill.data.source import unpack
from advdistill.results.files import AdversarialImages
from advdistill.train.status import status
from examples import loaded, network, own, pictures, run_folder, shown, torch_bytes

Reading = Callable[[], object]
Maker = Callable[[Path], Reading]
Content = bytes | Callable[[], bytes]  # a function if it is slow to make: every worker imports this file


class Evil:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ../outside/pwned",)


EVIL = pickle.dumps({"state_dict": Evil()}, 2)


def evil_torch(legacy: bool = False) -> bytes:
    return torch_bytes({"weight": Evil()}, _use_new_zipfile_serialization=not legacy)


def file(name: str, content: Content, read: Callable[[Path], object]) -> Maker:
    def make(folder: Path) -> Reading:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content() if callable(content) else content)
        return lambda: read(path)

    return make


def model(name: str, content: Content) -> Maker:
    return file(name, content, lambda path: loaded(f"{path}?arch=convnet-4"))


def ours(content: bytes) -> Maker:
    return file("m.safetensors", content, lambda path: loaded(str(path)))


def recipe(text: str | bytes) -> Maker:
    return file("recipe.yaml", text if isinstance(text, bytes) else text.encode(), lambda path: Run(path.parent).recipe)


def beside(name: str, content: bytes) -> Maker:
    """Put the file into a run's folder; reading it means to compare the run and to report on it."""

    def make(folder: Path) -> Reading:
        run_folder(folder)
        (folder / name).write_bytes(content)
        return lambda: shown(folder)

    return make


def safetensors(header: dict | bytes, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], start: int, end: int) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def announced(shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of this shape that stores only one number."""
    return torch.zeros(1).expand(shape)


def spec(**changes) -> bytes:
    known = {"name": "convnet-4", "num_classes": 2, "in_channels": 1, "mean": None, "std": None} | changes
    from safetensors.torch import save

    return save(network().state_dict(), {"format": "advdistill", "spec": json.dumps(known)})


def tar(*members: tuple[str, bytes, dict]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archived:
        for name, content, how in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for what, value in how.items():
                setattr(member, what, value)
            archived.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def unpacked(content: Content) -> Maker:
    return file("x.tar.gz", content, lambda path: unpack(path, path.parent))


def sparse() -> bytes:
    """A tar whose only member declares 1 TB of content that is not there."""
    member = tarfile.TarInfo("zeros")
    member.size = 10**12
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))


def pax(size: int) -> bytes:
    """A tar with an extended header of `size` zero bytes."""
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, size
    return gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) + bytes(size))


def chain(kind: bytes) -> bytes:
    """A tar of 20,000 headers of this kind, each about the next one."""
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 0
    return gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) * 20_000)


def npz(**arrays: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, content in arrays.items():
            archived.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zip_bomb() -> bytes:
    """A checkpoint of a few kB whose one tensor unpacks to 100 MB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_bytes({"weight": torch.zeros(25_000_000)}))) as plain:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for entry in plain.infolist():
                packed.writestr(entry.filename, plain.read(entry))
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG that declares `width` x `height` pixels in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture(content: bytes) -> Maker:
    def make(folder: Path) -> Reading:
        pictures(folder)
        (folder / "cat" / "0.png").write_bytes(content)
        return lambda: own(folder)

    return make


def link(name: str, target: str, prepare: Callable[[Path], object], read: Callable[[Path], object]) -> Maker:
    """A symbolic link that leads out of the folder."""

    def make(folder: Path) -> Reading:
        prepare(folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        return lambda: read(folder)

    return make


def special(name: str, how: Callable[[Path], object], prepare: Callable[[Path], None], read) -> Maker:
    def make(folder: Path) -> Reading:
        prepare(folder)
        (folder / name).unlink(missing_ok=True)
        how(folder / name)
        return lambda: read(folder)

    return make


def nothing(folder: Path) -> None:
    pass


def stored(folder: Path) -> None:
    """Save adversarial images of an evaluation in `result.adv` of this folder."""
    images = AdversarialImages(folder / "result.adv")
    images.put("pgd", 0, np.zeros((2, 1, 4, 4), np.float32), np.array([True, False]))


LAUGHS = "a: &a [" + ", ".join(["lol"] * 9) + "]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))  # fmt: skip
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = b"[" * 100_000 + b"]" * 100_000
INDICES = torch.zeros(2, 0, dtype=torch.long)
SPARSE_TENSOR = torch.sparse_coo_tensor(INDICES, torch.zeros(0), (10**9, 64), check_invariants=False)
OWN_LOOP: dict = {}
OWN_LOOP["state_dict"] = OWN_LOOP


def answered(name: str, content: bytes, read: Callable[[Path], object]) -> Maker:
    """Put a damaged file into a run's folder; reading it must ignore the damage."""

    def make(folder: Path) -> Reading:
        run_folder(folder)
        (folder / name).write_bytes(content)
        return lambda: read(folder)

    return make


def asked(folder: Path) -> object:
    return status(Run(folder))


def repeating(rows: int, size: int) -> bytes:
    """A parquet file that stores one image of `size` bytes and has `rows` rows that refer to it."""
    import pyarrow
    from pyarrow.parquet import write_table

    stream = io.BytesIO()
    images = pyarrow.array([os.urandom(size)] * rows, pyarrow.binary())
    write_table(pyarrow.table({"image": images, "label": [0] * rows}), stream)
    return stream.getvalue()
