"""Stack pictures into one array, of one size and all grey or all coloured, and check that it fits into memory."""

from pathlib import Path

import numpy as np

from ..._internal.packages import require
from .collection import Collection, Part
from .pictures import Files, Unreadable

__all__ = [
    *("TooLarge", "check_room", "common_shape", "dark_warning", "fitted", "free_memory", "listed", "refusal"),
    *("stacked", "unreadable"),
]


class TooLarge(ValueError):
    """Images that do not fit into memory."""


def free_memory() -> int | None:
    """Return the bytes that can be allocated without swapping; `None` if the system does not report them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def check_room(what: str, need: int) -> None:
    """Raise ValueError unless `need` bytes are free: a small file may unpack to any size."""
    free = free_memory()
    if free is not None and need > free:
        raise ValueError(f"{what} needs {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free.")


_SHOWN = 8
_SAMPLED = 32  # images of each part
_LONGEST = 200  # characters of a name


def stacked(collection: Collection, split: str, size: int | None) -> np.ndarray:
    """Return the images of a split, uint8 `[N, C, H, W]`.

    Args:
        size: the shorter side is resized to `size` (bicubic, antialiased) and the centre is cut out.

    Raises:
        ValueError: images cannot be read (the message counts all), or differ in size and `size` is not given.
        TooLarge: the images do not fit into memory.
    """
    part = collection.parts[split]
    try:
        channels, height, width = common_shape(collection, size)
        _check_memory(collection.name, part, (channels, height, width))
        images = np.empty((len(part.index), channels, height, width), np.uint8)
        for image, i in zip(images, part.index, strict=True):
            image[:] = fitted(part.pictures.pixels(i), size)
    except Unreadable:
        raise refusal(collection, unreadable(collection)) from None
    return images


def common_shape(collection: Collection, size: int | None) -> tuple[int, int, int]:
    """Return channels, height and width of the stacked images, from all headers: coloured if any is.

    Raises:
        ValueError: the images differ in size, and no `size` is given.
        Unreadable: a header cannot be read.
    """
    headers = [part.pictures.header(i) for part in collection.parts.values() for i in part.index]
    channels = 3 if any(header.colour for header in headers) else 1
    if size:
        return channels, size, size
    sizes = sorted({(header.height, header.width) for header in headers}, key=lambda pair: (pair[0] * pair[1], pair))
    if len(sizes) > 1:
        (low, narrow), (high, wide) = sizes[0], sizes[-1]
        raise ValueError(
            f"The images of {collection.name} have {len(sizes)} sizes, {narrow} x {low} to {wide} x {high} pixels. "
            "Give the side to which they are resized: --data.size 64, or size: 64 in the recipe's data."
        )
    return channels, *sizes[0]


def unreadable(collection: Collection) -> list[tuple[str, str]]:
    """Return the name of every unreadable picture, and why. Reads all pictures."""
    found = []
    for part in collection.parts.values():
        for i in part.index:
            try:
                part.pictures.pixels(i)
            except Unreadable as error:
                found.append((part.pictures.names[i], str(error)))
    return sorted(found)


def refusal(collection: Collection, faults: list[tuple[str, str]]) -> ValueError:
    return ValueError(
        f"{len(faults)} of {len(collection)} images of {collection.name} cannot be read: {listed(faults, _SHOWN)}. "
        "Repair or remove them, or leave them out: --data.skip-broken."
    )


def listed(faults: list[tuple[str, str]], most: int) -> str:
    """Format names and reasons, `most` of them."""
    shown = ", ".join(f"{name[:_LONGEST]} ({reason})" for name, reason in faults[:most])
    return f"{shown} and {len(faults) - most} more" if len(faults) > most else shown


def dark_warning(collection: Collection) -> str | None:
    """Return a warning if 16-bit pictures use only the lowest bits and are nearly black; checks 32 of each part."""
    brightest = found = 0
    for part in collection.parts.values():
        for i in part.index[:_SAMPLED]:
            try:
                if part.pictures.header(i).deep:
                    brightest, found = max(brightest, int(part.pictures.pixels(i).max())), found + 1
            except Unreadable:
                continue  # reported by name when all are read
    bits = next((bits for bits in (10, 12, 14) if brightest <= round((2**bits - 1) / 257)), None)
    if not found or bits is None:
        return None
    return (
        f"The images of {collection.name} have 16 bits and seem to use {bits} of them, so they are nearly black "
        f"(the brightest pixel is {brightest} of 255 in {found} images). If the camera has {bits} bits, give "
        f"--data.bits {bits}, or bits: {bits} in the recipe's data; if the images really are this dark, "
        "give --data.bits 16."
    )


def fitted(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """Convert `[H, W]` or `[H, W, 3]` to `[1 or 3, size, size]`; without `size` keep H and W."""
    if size:
        pixels = _resized(pixels, size)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    pillow = require("PIL.Image", "Resizing images", "data")
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)  # only the centre is resized: a strip would grow without bound
    return np.asarray(pillow.fromarray(pixels).resize((size, size), pillow.Resampling.BICUBIC, box))


def _check_memory(name: str, part: Part, shape: tuple[int, int, int]) -> None:
    n = len(part.index)
    need, free = 2 * n * np.prod(shape, dtype=int), free_memory()
    if free is None or need <= free:
        return
    side = int((free / (2 * n * shape[0])) ** 0.5)
    advice = f"Give data.size, {side} or less." if side >= 8 else "Take fewer images."
    advice += " Or read them batch by batch: --data.stream." if isinstance(part.pictures, Files) else ""
    raise TooLarge(
        f"{n} images of {name} of {' x '.join(map(str, shape))} need {need / 1e9:.1f} GB (training copies them once), "
        f"and {free / 1e9:.1f} GB of memory are free. {advice}"
    )
