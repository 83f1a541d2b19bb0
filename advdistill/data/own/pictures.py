"""What every reader of one's own images hands over: pictures that are looked at, and read, one by one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..._internal.reading import shown

__all__ = ["Arrays", "Look", "Pictures", "Unreadable", "printable"]


class Unreadable(Exception):
    """A picture that cannot be read; the message is the reason, in a few words."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a picture before its pixels are read."""

    height: int
    width: int
    colour: bool
    alpha: bool


class Pictures(Protocol):
    """Pictures by their place in a list. Each method raises `Unreadable`."""

    @property
    def names(self) -> Sequence[str]: ...

    def look(self, i: int) -> Look: ...

    def pixels(self, i: int) -> np.ndarray:
        """uint8, `[H, W]` if grey, `[H, W, 3]` if coloured; what is transparent is white."""

    def content(self, i: int) -> str:
        """The sha256 of the picture as it is stored."""


class Arrays:
    """Pictures that lie in memory.

    Args:
        images: uint8 `[N, H, W, C]`; C is 1 or 3, or 4 with transparency.
        name: of the array, for messages.
    """

    def __init__(self, images: np.ndarray, name: str):
        self.images = images
        self.names = [f"{name}[{i}]" for i in range(len(images))]

    def look(self, i: int) -> Look:
        height, width, channels = self.images.shape[1:]
        return Look(height, width, colour=channels > 1, alpha=channels == 4)

    def pixels(self, i: int) -> np.ndarray:
        image = self.images[i]
        if image.shape[2] == 1:
            return image[:, :, 0]
        return image if image.shape[2] == 3 else _on_white(image)

    def content(self, i: int) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images[i]).data).hexdigest()


def _on_white(image: np.ndarray) -> np.ndarray:
    alpha = image[:, :, 3:] / 255
    return np.rint(image[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def printable(text: str) -> str:
    """Names of files and columns may hold anything; what a terminal would obey or cannot show is replaced."""
    return shown(text, but="")
