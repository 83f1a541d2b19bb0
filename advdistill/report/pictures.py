"""Pictures of an inspection: PNG data URIs for the page's gallery, and the quickstart's PNG files."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._internal.packages import require
from ..results.inspection import Example, Inspection
from ..results.result import Measurement
from .charts import altair, figures, percent

__all__ = [
    "Picture", "Shown", "draw_curves", "draw_gallery", "draw_sheet", "drop_repeated_teachers", "gallery",
    "require_plots",
]  # fmt: skip

BELOW, ZERO, ABOVE = np.array([[33, 82, 158], [247, 247, 245], [173, 40, 32]])  # a diverging map: blue, white, red
SIDE = 92  # pixels of an image in the gallery
SHARP = 128  # images are enlarged to about this many pixels, so that drawing does not blur theirs
RIGHT, WRONG = "#2b8a3e", "#c92a2a"


@dataclass(frozen=True)
class Picture:
    """One network's predictions for one image, and pictures of them.

    Attributes:
        before, after: the predicted class of the clean image and of the network's own adversarial image.
        perturbation, adversarial, gradient: pictures as data URIs.
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
        """Characters on the page, where the image appears once for each network, and once more."""
        pictures = sum(len(p.perturbation) + len(p.adversarial) + len(p.gradient) for p in self.networks.values())
        return (len(self.networks) + 1) * len(self.image) + pictures


def gallery(inspection: Inspection, budget: float) -> list[Shown]:
    """Return the first examples, as many as fit into `budget` characters."""
    chosen: list[Shown] = []
    for example in inspection.examples:
        shown = _shown_example(example, inspection)
        budget -= shown.size
        if budget < 0:
            break
        chosen.append(shown)
    return chosen


def drop_repeated_teachers(galleries: Mapping[str, list[Shown]]) -> dict[str, str]:
    """Remove the teacher's pictures from a gallery if an earlier gallery has the same ones, of the same images.

    Args:
        galleries: by run; changed in place.

    Returns:
        For each run whose gallery no longer shows the teacher, the run whose gallery does.
    """
    first: dict[tuple[str, ...], str] = {}
    elsewhere = {}
    for run, shown in galleries.items():
        drawn = tuple(f"{one.image} {vars(one.networks['teacher'])}" for one in shown if "teacher" in one.networks)
        if not drawn:
            continue
        if first.setdefault(drawn, run) != run:
            elsewhere[run] = first[drawn]
            for one in shown:
                one.networks.pop("teacher", None)
    return elsewhere


def _shown_example(example: Example, inspection: Inspection) -> Shown:
    networks = {
        name: Picture(
            one.before,
            one.after,
            image_uri(_perturbation(one.x_adv - example.clean, inspection)),
            image_uri(one.x_adv),
            _gradient_map(one.gradient),
        )
        for name, one in example.predictions.items()
    }
    return Shown(image_uri(example.clean), example.label, networks)


def _perturbation(moved: np.ndarray, inspection: Inspection) -> np.ndarray:
    """Return 0.5 + (x' - x) / 2 eps; in an L2 ball, where eps bounds no pixel, the largest change replaces eps."""
    largest = inspection.eps if inspection.threat.startswith("Linf") else np.abs(moved).max()
    return 0.5 + moved / (2 * largest or 1)


def image_uri(values: np.ndarray) -> str:
    """Return a picture of `[C, H, W]` in [0, 1]; unless there are one or three channels, it shows their mean."""
    levels = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    if len(levels) == 3:
        return _png_uri("RGB", np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return _png_uri("L", levels[0] if len(levels) == 1 else levels.mean(0).astype(np.uint8))


def _gradient_map(gradient: np.ndarray) -> str:
    """Draw the sum over the channels, divided by the 99th percentile of its absolute value."""
    summed = np.nan_to_num(gradient).sum(0)
    return signed_uri(summed / (np.percentile(np.abs(summed), 99) or 1))


def signed_uri(values: np.ndarray) -> str:
    """Return a picture of `[H, W]` in [-1, 1]: blue below 0, white at 0, red above 0."""
    return _png_uri("P", np.rint(127 + 127 * np.clip(values, -1, 1)).astype(np.uint8), _diverging_palette())


def _diverging_palette() -> bytes:
    """Return 256 colours, 127 of them on either side of white."""
    share = np.clip((np.arange(256) - 127) / 127, -1, 1)[:, None]
    colours = ZERO + np.maximum(share, 0) * (ABOVE - ZERO) + np.maximum(-share, 0) * (BELOW - ZERO)
    return np.rint(colours).astype(np.uint8).tobytes()


def _png_uri(mode: str, pixels: np.ndarray, palette: Iterable[int] = b"") -> str:
    pillow = require("PIL.Image", "The report", "report")
    image, file = pillow.frombytes(mode, pixels.shape[1::-1], pixels.tobytes()), io.BytesIO()
    if palette:
        image.putpalette(palette)
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def require_plots(purpose: str) -> None:
    """Raise ImportError if a package for drawing is missing; `purpose` names what needs it."""
    require("altair", purpose, "plot")
    require("vl_convert", purpose, "plot")
    require("PIL.Image", purpose, "plot")


def draw_curves(curves: Mapping[str, Mapping[float, Measurement]], eps: float, path: Path | str) -> None:
    """Draw accuracy against eps, a line per model with its 95 % interval, and mark the `eps` of the training.

    Args:
        curves: by model, then by eps in units of pixels in [0, 1].
        path: the PNG file to write.

    Raises:
        ImportError: a package of the extra `plot` is missing.
    """
    alt = altair()
    rows = [
        {"model": model, "eps": radius} | figures(m) for model, curve in curves.items() for radius, m in curve.items()
    ]
    attack = next(m.attack for curve in curves.values() for m in curve.values())
    accuracy = {"axis": percent(), "scale": alt.Scale(domain=[0, 1]), "title": f"accuracy under {attack}"}
    colour = alt.Color("model:N", sort=None, legend=alt.Legend(title=None, symbolOpacity=1, labelLimit=400))
    drawn = alt.Chart(alt.Data(values=rows)).encode(alt.X("eps:Q", title="eps (pixels in [0, 1])"), colour)
    training = alt.Chart(alt.Data(values=[{"eps": eps, "said": f"eps of the training, {eps:g}"}]))
    chart = alt.layer(
        drawn.mark_area(opacity=0.15).encode(alt.Y("low:Q", **accuracy), alt.Y2("high:Q")),
        drawn.mark_line(point=True).encode(alt.Y("accuracy:Q", **accuracy)),
        training.mark_rule(strokeDash=[3, 4], color="grey").encode(alt.X("eps:Q")),
        training.mark_text(align="left", dx=5, color="grey").encode(alt.X("eps:Q"), alt.YValue(8), text="said:N"),
    )
    _save_png(chart.properties(width=560, height=380), path)


def draw_gallery(examples: Sequence[Example], eps: float, path: Path | str) -> None:
    """Draw a column per example: the clean image, then for each model its adversarial image and perturbation.

    Args:
        examples: at least one; all with the same models.
        eps: the change of a pixel that has full colour; 0 if no image was perturbed.
        path: the PNG file to write.

    Raises:
        ImportError: a package of the extra `plot` is missing.
    """
    rows: list[dict[str, Any]] = []
    for column, example in enumerate(examples):
        clean = {"row": "clean", "image": image_uri(_enlarged(example.clean)), "said": f"is {example.label}"}
        rows.append(clean | {"column": column, "colour": "black"})
        for model, one in example.predictions.items():
            moved = (one.x_adv - example.clean) / (eps or 1)
            colour = RIGHT if one.after == example.label else WRONG
            said = f"{one.before} → {one.after}"
            attacked = {"row": f"{model}: attacked", "image": image_uri(_enlarged(one.x_adv)), "said": said}
            change = {"row": f"{model}: perturbation", "image": signed_uri(_enlarged(moved).mean(0)), "said": ""}
            rows += [row | {"column": column, "colour": colour} for row in (attacked, change)]
    alt = altair()
    named = alt.Axis(title=None, ticks=False, domain=False, labelLimit=400)
    places = alt.X("column:O", axis=None), alt.Y("row:N", sort=None, axis=named)
    placed = alt.Chart(alt.Data(values=rows)).encode(*places)
    chart = alt.layer(
        placed.mark_image(width=SIDE, height=SIDE).encode(url="image:N"),
        placed.mark_text(dy=-SIDE / 2 - 8, limit=SIDE + 4).encode(  # a long name must not run into the next one
            text="said:N", color=alt.Color("colour:N", scale=None)
        ),
    )
    _save_png(chart.properties(width=alt.Step(SIDE + 8), height=alt.Step(SIDE + 22)).configure_view(stroke=None), path)


def draw_sheet(rows: Mapping[str, np.ndarray], path: Path | str) -> None:
    """Draw rows of images to a PNG: `[n, C, H, W]` in [0, 1], by row name.

    Raises:
        ImportError: a package of the extra `plot` is missing.
    """
    alt = altair()
    drawn = [{"row": name, "column": column, "image": image_uri(_enlarged(image))}
             for name, images in rows.items() for column, image in enumerate(images)]  # fmt: skip
    named = alt.Axis(title=None, ticks=False, domain=False, labelLimit=400)
    chart = alt.Chart(alt.Data(values=drawn)).mark_image(width=SIDE, height=SIDE)
    chart = chart.encode(alt.X("column:O", axis=None), alt.Y("row:N", sort=None, axis=named), url="image:N")
    size = {"width": alt.Step(SIDE + 4), "height": alt.Step(SIDE + 4)}
    _save_png(chart.properties(**size).configure_view(stroke=None), path)


def _enlarged(values: np.ndarray) -> np.ndarray:
    """Return `[C, H, W]` with each pixel repeated to a square."""
    times = max(1, SHARP // max(values.shape[1:]))
    return values.repeat(times, 1).repeat(times, 2)


def _save_png(chart: Any, path: Path | str) -> None:
    convert = require("vl_convert", "A picture", "plot").vegalite_to_png
    Path(path).write_bytes(convert(chart.to_json(), scale=1.5))
