"""Pictures, read one at a time from arrays in memory or PNG, JPEG and similar files, which are not trusted."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..._internal.packages import require
from ..._internal.reading import shown

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    *("SUFFIXES", "Arrays", "Encoded", "Files", "Header", "Pictures", "Unreadable", "decode"),
    *("from_16_bits", "open_picture", "printable_name"),
]


class Unreadable(Exception):
    """A picture that cannot be read; the message is the reason, in a few words."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a picture before its pixels are read."""

    height: int
    width: int
    colour: bool
    alpha: bool
    deep: bool = field(default=False, compare=False)
    """Stored with 16 bits."""


class Pictures(Protocol):
    """Pictures by index. The methods with an index `i` may raise `Unreadable`."""

    @property
    def names(self) -> Sequence[str]: ...

    def header(self, i: int) -> Header: ...

    def pixels(self, i: int) -> np.ndarray:
        """uint8, `[H, W]` if grey, `[H, W, 3]` if coloured; transparent areas become white."""

    def content(self, i: int) -> str:
        """The sha256 of the picture as it is stored."""

    def take(self, chosen: Sequence[int]) -> "Pictures":
        """The pictures at these indices, in this order."""


class Arrays:
    """Pictures in memory.

    Args:
        images: uint8 `[N, H, W, C]`; C is 1 or 3, or 4 with transparency.
        name: name of the array, for messages.
    """

    def __init__(self, images: np.ndarray, name: str):
        self.images = images
        self.names = [f"{name}[{i}]" for i in range(len(images))]

    def header(self, i: int) -> Header:
        height, width, channels = self.images.shape[1:]
        return Header(height, width, colour=channels > 1, alpha=channels == 4)

    def pixels(self, i: int) -> np.ndarray:
        image = self.images[i]
        if image.shape[2] == 1:
            return image[:, :, 0]
        return image if image.shape[2] == 3 else _on_white(image)

    def content(self, i: int) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images[i]).data).hexdigest()

    def take(self, chosen: Sequence[int]) -> "Arrays":
        taken = Arrays(self.images[list(chosen)], "")
        taken.names = [self.names[i] for i in chosen]
        return taken


def _on_white(image: np.ndarray) -> np.ndarray:
    alpha = image[:, :, 3:] / 255
    return np.rint(image[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def printable_name(text: str) -> str:
    """Replace characters that a terminal would obey or cannot show; names of files and columns may contain them."""
    return shown(text, but="")


SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
FOREIGN = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".tga", ".exr", ".dng", ".cr2", ".nef", ".arw"}
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 2**26
_GREY = {"1", "L", "LA", "La", "I", "F"}
_ORIENTATION = 0x0112
_LONGEST_REASON = 60


class Encoded:
    """Pictures that Pillow decodes.

    Args:
        names: names of the pictures, for messages.
        open: maps the index of a picture to a stream of its bytes.
        bits: how many of 16 bits the camera used; the brightest pixel is 2 ** bits - 1.
    """

    def __init__(self, names: Sequence[str], open: Callable[[int], BufferedIOBase], bits: int | None = None):
        self.names = [printable_name(name) for name in names]
        self._open, self._bits = open, bits

    def header(self, i: int) -> Header:
        with self._opened(i) as image:
            turned = _orientation(image) >= 5  # orientations 5 to 8 swap height and width
            height, width = image.size if turned else image.size[::-1]
            return Header(height, width, not _is_grey(image), _is_transparent(image), _is_deep(image))

    def pixels(self, i: int) -> np.ndarray:
        with self._opened(i) as image:
            return decode(image, self._bits)

    def take(self, chosen: Sequence[int]) -> "Encoded":
        return Encoded([self.names[i] for i in chosen], partial(_open_at, self._open, chosen), self._bits)

    def content(self, i: int) -> str:
        with self._stream(i) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @contextmanager
    def _stream(self, i: int) -> Iterator[BufferedIOBase]:
        try:
            with self._open(i) as stream:
                yield stream
        except OSError as error:
            raise Unreadable(_reason(error)) from error

    @contextmanager
    def _opened(self, i: int) -> Iterator["Image"]:
        pillow = require("PIL.Image", "Reading images", "data")
        with self._stream(i) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = pillow.open(stream, formats=_FORMATS)
                if image.width * image.height > _MOST_PIXELS:
                    raise Unreadable(f"{image.width} x {image.height} pixels are too many")
                yield image
            except Unreadable:
                raise
            except Exception as error:  # broken bytes raise a dozen kinds of exceptions, SyntaxError among them
                raise Unreadable(_reason(error)) from error


class Files(Encoded):
    """Pictures in files, named by their paths relative to `root`."""

    def __init__(self, paths: Sequence[Path], root: Path, bits: int | None = None):
        super().__init__([os.path.relpath(path, root) for path in paths], partial(_open_one, paths), bits)
        self.paths, self.root, self.bits = paths, root, bits

    def take(self, chosen: Sequence[int]) -> "Files":
        return Files([self.paths[i] for i in chosen], self.root, self.bits)


def _open_at(open: Callable[[int], BufferedIOBase], chosen: Sequence[int], i: int) -> BufferedIOBase:
    return open(chosen[i])


def _open_one(paths: Sequence[Path], i: int) -> BufferedIOBase:
    if paths[i].suffix.lower() in FOREIGN:
        raise Unreadable(f"{paths[i].suffix} is not read; convert it to PNG or JPEG")
    return open_picture(paths[i])


def open_picture(path: Path) -> BufferedIOBase:
    """Open a regular file; opening a pipe could block forever."""
    if not path.is_file():
        raise Unreadable("not an ordinary file" if path.exists() else "no such file")
    if path.stat().st_size == 0:
        raise Unreadable("empty")
    return path.open("rb")


def decode(image: "Image", bits: int | None = None) -> np.ndarray:
    """Convert a Pillow image to uint8, `[H, W]` if grey, `[H, W, 3]` if coloured. Raises Unreadable."""
    pillow = require("PIL.Image", "Reading images", "data")
    if _orientation(image) > 1:
        image = require("PIL.ImageOps", "Reading images", "data").exif_transpose(image)
    if image.mode[0] in "IF":
        return from_16_bits(np.asarray(image), bits)
    if bits and bits < 16 and _is_deep(image):
        raise Unreadable("16-bit colour does not support data.bits; save it as 8 bits")
    kind = "L" if _is_grey(image) else "RGB"
    if _is_transparent(image):
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert(kind))


def from_16_bits(pixels: np.ndarray, bits: int | None) -> np.ndarray:
    """Scale whole numbers up to 2 ** bits - 1 to uint8, rounded. Raises Unreadable for other values."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise Unreadable("pixels of 32 bits, expected 8 or 16")
    most = 2 ** (bits or 16) - 1
    if pixels.max() > most:
        raise Unreadable(f"a pixel of {pixels.max()}, more than the {most} of data.bits {bits}")
    return ((2 * 255 * pixels.astype(np.uint32) + most) // (2 * most)).astype(np.uint8)


def _is_deep(image: "Image") -> bool:
    return image.mode[0] == "I" or any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def _is_grey(image: "Image") -> bool:
    return image.mode in _GREY or image.mode.startswith("I;16")


def _is_transparent(image: "Image") -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or (
        "transparency" in image.info and image.mode[0] not in "IF"
    )


def _orientation(image: "Image") -> int:
    """Return the EXIF orientation that the header states; searching further would decode the picture."""
    return image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1


def _reason(error: Exception) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if "cannot identify" in text:
        return "not a picture"
    if "DecompressionBomb" in type(error).__name__:
        return "too many pixels"
    if "truncated" in text or isinstance(error, EOFError):
        return "truncated"
    return printable_name(text)[:_LONGEST_REASON] or type(error).__name__
