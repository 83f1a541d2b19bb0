"""Generated images to train on: .npz files of `image`, uint8 `[N, H, W, C]`, and `label`, read row by row.

Images of diffusion models for adversarial training are published in this layout (Gowal et al. 2021, Rebuffi et al.
2021, Wang et al. 2023). A million images of 32 x 32 take 3 GB; only the rows of a batch are in memory.
"""

import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._internal.cache import cache, writable
from .._internal.files import write_atomic
from .._internal.reading import home, ordinary, printable
from .split import Images

__all__ = ["Extra", "open_extra"]

SAMPLE = 32  # images of each file whose pixels are hashed in `Extra.digest`
CHUNK = 2**20  # bytes
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # RuntimeError: encrypted, or an unknown compression
LAYOUT = "Generated images are an .npz with 'image', uint8 [N, H, W, C], and if known 'label', integers [N]"


@dataclass(frozen=True)
class Rows:
    """An array of images in a file: offset of its first byte, number of rows, shape of a row, and CRC."""

    path: Path
    offset: int
    count: int
    form: tuple[int, int, int]
    crc: int

    def read(self, index: np.ndarray) -> np.ndarray:
        """Return the rows at `index`, uint8 `[n, H, W, C]`.

        Rows are read, not memory-mapped: a mapping would keep every page that was ever touched.
        """
        rows = np.empty((len(index), *self.form), np.uint8)
        size = rows[:1].nbytes
        with open(self.path, "rb", buffering=0) as file:
            for row, place in zip(rows.reshape(len(index), -1), index.tolist(), strict=True):
                file.seek(self.offset + place * size)
                if file.readinto(row.data) != size:
                    raise ValueError(f"{self.path} has become shorter since it was opened. Get it again.")
        return rows


class Extra(Images):
    """Generated images of any number of files, one file after another.

    Args:
        rows: the images of each file.
        labels: int64 `[N]`; `None` if any file has none.
        classes: the class names of the data that the images are added to.
        name: for messages.
    """

    def __init__(self, rows: Sequence[Rows], labels: Tensor | None, classes: tuple[str, ...], name: str):
        self.rows, self.labels, self.classes, self.name = rows, labels, classes, name
        self.begins = np.cumsum([0, *(part.count for part in rows)])

    def __len__(self) -> int:
        return int(self.begins[-1])

    def read(self, index: Tensor) -> Tensor:
        """Return the images at `index`, uint8 `[n, C, H, W]`, in that order."""
        places, form = index.cpu().numpy(), self.rows[0].form
        found = np.empty((len(places), *form), np.uint8)
        of_file = np.searchsorted(self.begins, places, side="right") - 1
        for number in np.unique(of_file).tolist():
            mine = of_file == number
            found[mine] = self.rows[number].read(places[mine] - self.begins[number])
        return torch.from_numpy(found).permute(0, 3, 1, 2).contiguous()

    @property
    def digest(self) -> str:
        """Hash of the labels, of each file's own checksum of its images, and of some of their pixels."""
        digest = hashlib.sha256(b"" if self.labels is None else self.labels.numpy().data)
        for part in self.rows:
            digest.update(f"{part.count} {part.form} {part.crc}".encode())
            digest.update(part.read(np.unique(np.linspace(0, part.count - 1, SAMPLE).round().astype(np.int64))).data)
        return digest.hexdigest()[:16]

    @property
    def content(self) -> str:
        """Hash of every pixel; reads all files."""
        digest = hashlib.sha256()
        for part in self.rows:
            left = part.count * math.prod(part.form)
            with open(part.path, "rb") as file:
                file.seek(part.offset)
                while left and (block := file.read(min(CHUNK, left))):
                    digest.update(block)
                    left -= len(block)
        return digest.hexdigest()[:16]

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return sum(part.count * math.prod(part.form) for part in self.rows)

    def __str__(self) -> str:
        labels = "" if self.labels is not None else " without labels"
        return f"{len(self):,} generated images{labels} of {self.name} ({self.digest[:12]})"


def open_extra(files: Sequence[str], shape: tuple[int, int, int], classes: tuple[str, ...]) -> Extra:
    """Open files of generated images; labels are read, images are not.

    A compressed file cannot be read row by row: its images are written once, uncompressed, to the data cache.

    Args:
        files: paths of .npz files; the module's docstring describes their layout.
        shape: channels, height and width of the data that the images are added to.
        classes: the class names of this data.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not an .npz, is damaged, or has other contents.
    """
    opened = [_opened(ordinary(home(file)), shape, len(classes)) for file in files]
    labels = [found for _, found in opened if found is not None]
    whole = torch.cat(labels) if len(labels) == len(opened) else None
    return Extra([rows for rows, _ in opened], whole, classes, ", ".join(Path(file).name for file in files))


def _opened(path: Path, shape: tuple[int, int, int], classes: int) -> tuple[Rows, Tensor | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if "image" not in members:
                held = ", ".join(map(printable, members)) or "nothing"
                raise ValueError(f"{path} has no array 'image'; it has {held}. {LAYOUT}.")
            rows = _rows(path, archive, members["image"], shape)
            found = _labels(path, archive, members["label"], rows.count, classes) if "label" in members else None
            whole = members["image"]
    except (OSError, *DAMAGED) as error:
        raise _unreadable(path, error) from error
    if whole.compress_type != zipfile.ZIP_STORED:
        rows = replace(rows, path=_uncompressed(path, whole))
    return rows, found


def _unreadable(path: Path, error: Exception) -> ValueError:
    size = path.stat().st_size if path.is_file() else 0
    what = "is empty" if path.is_file() and not size else f"is not an .npz that can be read ({printable(error)})"
    return ValueError(f"{path} {what}. {LAYOUT}.")


def _header(path: Path, stream: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return the shape and type that the header of a .npy states, and the header's length."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: its array {name!r} is damaged ({printable(error)}). {LAYOUT}.") from error
    if fortran and len(shape) > 1:
        raise ValueError(f"{path}: its array {name!r} is in Fortran order. Save it with np.ascontiguousarray(...).")
    return shape, dtype, stream.tell()


def _rows(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, shape: tuple[int, int, int]) -> Rows:
    with archive.open(info) as stream:
        found, dtype, header = _header(path, stream, "image")
    channels, height, width = shape
    form = f"{dtype} {list(found)}"
    if dtype != np.uint8:
        raise ValueError(f"{path}: 'image' must be uint8, pixels 0..255, got {form}. Floats in [0, 1] become such by "
                         "(255 * image).round().astype('uint8').")  # fmt: skip
    if len(found) != 4 or found[1:] != (height, width, channels):
        hint = " Its channels come first: write image.transpose(0, 2, 3, 1)." if found[1:] == shape else ""
        wanted = f"[N, {height}, {width}, {channels}]"
        raise ValueError(f"{path}: 'image' must be {wanted}, as the images that it is added to, got {form}.{hint}")
    if not found[0] or info.file_size - header != math.prod(found):
        raise ValueError(f"{path}: 'image' of {form} " + ("has no images." if not found[0] else "is truncated."))
    offset = 0  # of the array in the uncompressed copy
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)  # local header: the lengths of the name and of the extra field
            name, more = (int.from_bytes(file.read(2), "little") for _ in range(2))
        offset = info.header_offset + 30 + name + more
    return Rows(path, offset + header, found[0], (height, width, channels), info.CRC)


def _uncompressed(source: Path, info: zipfile.ZipInfo) -> Path:
    """Return an uncompressed copy of the array of a compressed file, written to the data cache once.

    Raises:
        ValueError: the file is damaged.
        OSError: the cache cannot be written.
    """
    folder = cache("data") / "extra"
    path = folder / f"{info.CRC:08x}-{info.file_size}.npy"
    if not path.exists():
        writable(folder, "data")

        def write(temporary: Path) -> None:
            with zipfile.ZipFile(source) as archive, archive.open(info) as array, open(temporary, "wb") as target:
                while block := array.read(CHUNK):  # reading checks the CRC
                    target.write(block)

        try:
            write_atomic(path, write, size=info.file_size)
        except DAMAGED as error:
            raise _unreadable(source, error) from error
    os.utime(path)  # mark as in use, in case the cache is cleared by age
    return path


def _labels(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, images: int, classes: int) -> Tensor:
    with archive.open(info) as stream:
        found, dtype, _ = _header(path, stream, "label")
        if not np.issubdtype(dtype, np.integer) or found != (images,):
            raise ValueError(f"{path}: 'label' must be integers [{images}], one for each image, got {dtype} "
                             f"{list(found)}.")  # fmt: skip
        data = stream.read(images * dtype.itemsize)
    if len(data) != images * dtype.itemsize:
        raise ValueError(f"{path}: its array 'label' is truncated. Get the file again.")
    labels = torch.from_numpy(np.frombuffer(data, dtype).astype(np.int64))
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        known = f"0..{classes - 1}, the classes of the data"
        raise ValueError(f"{path}: labels must lie in {known}; it has {int(wrong[0])}.")
    return labels
