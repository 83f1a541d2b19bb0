"""PNG files of the quickstart, from figures and arrays: robust accuracy against eps, and what attacks do to images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._internal.optional import require
from ..results.inspection import Example
from ..results.result import Measurement
from .charts import altair, figures, percent
from .gallery import image_uri, signed_uri

__all__ = ["draw_curves", "draw_gallery", "require_plots"]

SIDE = 92  # pixels of an image in the gallery
SHARP = 128  # an image is enlarged to about this many pixels, so that drawing it does not blur its own
RIGHT, WRONG = "#2b8a3e", "#c92a2a"


def require_plots(purpose: str) -> None:
    """Raise ImportError where a package that draws is missing: `purpose` names what needs it."""
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
    _save(chart.properties(width=560, height=380), path)


def draw_gallery(examples: Sequence[Example], eps: float, path: Path | str) -> None:
    """Draw a column per example: the clean image, then for each model its adversarial image and perturbation.

    Args:
        examples: at least one; all with the same models.
        eps: at which a perturbation has its full colour; where it is 0, nothing moved.
        path: the PNG file to write.

    Raises:
        ImportError: a package of the extra `plot` is missing.
    """
    rows: list[dict[str, Any]] = []
    for column, example in enumerate(examples):
        clean = {"row": "clean", "image": image_uri(_enlarged(example.clean)), "said": f"is {example.label}"}
        rows.append(clean | {"column": column, "colour": "black"})
        for model, look in example.looks.items():
            moved = (look.x_adv - example.clean) / (eps or 1)
            colour = RIGHT if look.after == example.label else WRONG
            said = f"{look.before} → {look.after}"
            attacked = {"row": f"{model}: attacked", "image": image_uri(_enlarged(look.x_adv)), "said": said}
            change = {"row": f"{model}: perturbation", "image": signed_uri(_enlarged(moved).mean(0)), "said": ""}
            rows += [row | {"column": column, "colour": colour} for row in (attacked, change)]
    alt = altair()
    named = alt.Axis(title=None, ticks=False, domain=False, labelLimit=400)
    places = alt.X("column:O", axis=None), alt.Y("row:N", sort=None, axis=named)
    placed = alt.Chart(alt.Data(values=rows)).encode(*places)
    chart = alt.layer(
        placed.mark_image(width=SIDE, height=SIDE).encode(url="image:N"),
        placed.mark_text(dy=-SIDE / 2 - 8).encode(text="said:N", color=alt.Color("colour:N", scale=None)),
    )
    _save(chart.properties(width=alt.Step(SIDE + 8), height=alt.Step(SIDE + 22)).configure_view(stroke=None), path)


def _enlarged(values: np.ndarray) -> np.ndarray:
    """`[C, H, W]` with each pixel as a square of several."""
    times = max(1, SHARP // max(values.shape[1:]))
    return values.repeat(times, 1).repeat(times, 2)


def _save(chart: Any, path: Path | str) -> None:
    convert = require("vl_convert", "A picture", "plot").vegalite_to_png
    Path(path).write_bytes(convert(chart.to_json(), scale=1.5))
