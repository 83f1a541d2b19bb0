"""Pictures: robust accuracy against eps, and what an attack does to images. Drawn from figures and arrays only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._internal.optional import require
from ..results.inspection import Example
from ..results.result import Measurement

__all__ = ["draw_curves", "draw_gallery"]


def draw_curves(curves: Mapping[str, Mapping[float, Measurement]], eps: float, path: Path | str) -> None:
    """Accuracy against eps, a line for each model with its 95 % interval; `eps` of the training is marked."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, curve in curves.items():
        radii = list(curve)
        low, high = zip(*(m.interval for m in curve.values()), strict=True)
        (line,) = axes.plot(radii, [m.accuracy for m in curve.values()], marker="o", markersize=4, label=name)
        axes.fill_between(radii, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
    axes.axvline(eps, color="grey", linestyle=":", label=f"eps of the training, {eps:g}")
    attack = next(m.attack for curve in curves.values() for m in curve.values())
    axes.set(xlabel="eps (pixels in [0, 1])", ylabel=f"accuracy under {attack}", ylim=(0, 1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def draw_gallery(examples: Sequence[Example], eps: float, path: Path | str) -> None:
    """A column for each example: the clean image, then for each model its adversarial image and perturbation."""
    plt = _pyplot()
    models = list(examples[0].looks)
    rows = 1 + 2 * len(models)
    figure, grid = plt.subplots(
        rows, len(examples), figsize=(1.25 * len(examples) + 1.4, 1.42 * rows), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for column, example in zip(grid.T, examples, strict=True):
        _picture(column[0], example.clean)
        column[0].set_title(f"is {example.label}", fontsize=9)
        for i, model in enumerate(models):
            look = example.looks[model]
            image, difference = column[1 + 2 * i], column[2 + 2 * i]
            _picture(image, look.x_adv)
            right = look.after == example.label
            image.set_title(f"{look.before} → {look.after}", fontsize=9, color="tab:green" if right else "tab:red")
            shown = 0.5 + (look.x_adv - example.clean) / (2 * eps or 1)  # where eps is 0, there is none to show
            _picture(difference, shown.clip(0, 1), cmap="RdBu")
    labels = ["clean", *(text for model in models for text in (f"{model}:\nattacked", "perturbation"))]
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label, fontsize=9)
    _save(figure, path)


def _picture(axes: Any, image: np.ndarray, cmap: str = "gray") -> None:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axes.imshow(pixels, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")


def _pyplot() -> Any:
    require("matplotlib", "A picture", "plot").use("agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path | str) -> None:
    figure.savefig(path, dpi=130)
    _pyplot().close(figure)
