"""Examples of an inspection as PNG data URIs: image, perturbation, adversarial image, map of the input gradient."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .._internal.optional import require
from ..results.inspection import Example, Inspection

__all__ = ["Picture", "Shown", "gallery", "image_uri", "signed_uri"]

BELOW, ZERO, ABOVE = np.array([[33, 82, 158], [247, 247, 245], [173, 40, 32]])  # a diverging map: blue, white, red


@dataclass(frozen=True)
class Picture:
    """What one network makes of one image.

    Attributes:
        before, after: the class it names, of the clean and of its own adversarial image.
        perturbation, adversarial, gradient: as data URIs.
    """

    before: str
    after: str
    perturbation: str
    adversarial: str
    gradient: str


@dataclass(frozen=True)
class Shown:
    """One example: its image as a data URI, its class, and the pictures by network."""

    image: str
    label: str
    networks: dict[str, Picture]

    @property
    def size(self) -> int:
        """Characters that it takes on the page: the image stands there twice for each network, and once more."""
        looks = sum(len(p.perturbation) + len(p.adversarial) + len(p.gradient) for p in self.networks.values())
        return (len(self.networks) + 1) * len(self.image) + looks


def gallery(inspection: Inspection, budget: float) -> list[Shown]:
    """As many of the examples, in their order, as fit into so many characters."""
    kept: list[Shown] = []
    for example in inspection.examples:
        shown = _shown(example, inspection)
        budget -= shown.size
        if budget < 0:
            break
        kept.append(shown)
    return kept


def _shown(example: Example, inspection: Inspection) -> Shown:
    networks = {
        name: Picture(
            look.before,
            look.after,
            image_uri(_perturbation(look.x_adv - example.clean, inspection)),
            image_uri(look.x_adv),
            _map(look.gradient),
        )
        for name, look in example.looks.items()
    }
    return Shown(image_uri(example.clean), example.label, networks)


def _perturbation(moved: np.ndarray, inspection: Inspection) -> np.ndarray:
    """0.5 + (x' - x) / 2 eps; an L2 ball's eps is no pixel's, so there the largest change takes its place."""
    largest = inspection.eps if inspection.threat.startswith("Linf") else np.abs(moved).max()
    return 0.5 + moved / (2 * largest or 1)


def image_uri(values: np.ndarray) -> str:
    """A picture of `[C, H, W]` in [0, 1]; other than one or three channels are shown by their mean."""
    levels = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    if len(levels) == 3:
        return _png("RGB", np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return _png("L", levels[0] if len(levels) == 1 else levels.mean(0).astype(np.uint8))


def _map(gradient: np.ndarray) -> str:
    """The sum over the channels, divided by the 99th percentile of its size."""
    summed = np.nan_to_num(gradient).sum(0)
    return signed_uri(summed / (np.percentile(np.abs(summed), 99) or 1))


def signed_uri(values: np.ndarray) -> str:
    """A picture of `[H, W]` in [-1, 1]: blue below 0, white, red above."""
    return _png("P", np.rint(127 + 127 * np.clip(values, -1, 1)).astype(np.uint8), _palette())


def _palette() -> bytes:
    """256 colours, 127 of them on either side of white."""
    share = np.clip((np.arange(256) - 127) / 127, -1, 1)[:, None]
    colours = ZERO + np.maximum(share, 0) * (ABOVE - ZERO) + np.maximum(-share, 0) * (BELOW - ZERO)
    return np.rint(colours).astype(np.uint8).tobytes()


def _png(mode: str, pixels: np.ndarray, palette: Iterable[int] = b"") -> str:
    pillow = require("PIL.Image", "The report", "report")
    image, file = pillow.frombytes(mode, pixels.shape[1::-1], pixels.tobytes()), io.BytesIO()
    if palette:
        image.putpalette(palette)
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
