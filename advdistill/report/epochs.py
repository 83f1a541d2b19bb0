"""Charts of a training run by epoch: held-out accuracy, losses, the learning rate, and a method's own state."""

from collections.abc import Iterator, Sequence
from math import ceil, isfinite
from typing import Any

from ..results.result import wilson
from ..results.selection import Epoch, overfitting
from .charts import Chart, altair, between, colour, percent, specification
from .compare import distinct
from .loading import ReportedRun

__all__ = ["state_charts", "training_charts"]

TITLES = {"loss": "Loss", "lr": "Learning rate", "weight": "Weights of the losses", "temperature": "Temperatures"}
MOST = 1500  # epochs drawn, over all runs together, to limit the page's size


def training_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Chart held-out accuracies (with 95 % bands if the number of images is known), losses and the learning rate."""
    held = [row for run in runs for row in _held_out_rows(run, _drawn_epochs(runs, run))]
    said = (
        f"{run.name}: robust {o.best:.1%} at epoch {o.epoch}, the best, and {o.last:.1%} at the last, {o.last_epoch}."
        for run in runs
        if (o := overfitting(run.epochs))
    )
    label = f"Accuracy on held-out images by epoch. {' '.join(said)}"
    charts = [_epoch_chart(runs, "Held-out accuracy", label, held)] if held else []
    return [*charts, *_charts_of_figure(runs, "loss"), *_charts_of_figure(runs, "lr")]


def state_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Chart a method's own state, such as MTARD's weights or B-MTARD's temperatures."""
    names = distinct(name.partition("/")[0] for run in runs for row in run.epochs for name in row if "/" in name)
    return [chart for name in names if name != "loss" for chart in _charts_of_figure(runs, name)]


def _charts_of_figure(runs: Sequence[ReportedRun], name: str) -> Iterator[Chart]:
    """Yield one chart of the figures `name` and `name/...`, if a run has any of them."""
    rows = [
        {"model": run.name, "epoch": epoch["epoch"], "what": key.partition("/")[2] or key, "value": _json_number(value)}
        for run in runs
        for epoch in _drawn_epochs(runs, run)
        for key, value in epoch.items()
        if key.partition("/")[0] == name
    ]
    if rows:
        title = TITLES.get(name, name.replace("_", " ").capitalize())
        last = {(row["model"], row["what"]): row["value"] for row in rows if row["value"] is not None}
        said = "; ".join(f"{what} of {model} {value:.4g}" for (model, what), value in last.items())
        yield _epoch_chart(runs, title, f"{title} by epoch. At the end: {said}.", rows)


def _held_out_rows(run: ReportedRun, epochs: Sequence[Epoch]) -> Iterator[dict[str, Any]]:
    images = run.result.chosen.images if run.result.chosen else None
    for epoch in epochs:
        for what in ("clean", "robust"):
            if isfinite(value := epoch.get(what, float("nan"))):
                row = {"model": run.name, "epoch": epoch["epoch"], "what": what, "value": _json_number(value)}
                ends = wilson(round(value * images), images) if images else None
                yield row | (dict(zip(("low", "high"), map(_json_number, ends), strict=True)) if ends else {})


def _epoch_chart(runs: Sequence[ReportedRun], title: str, label: str, rows: list[dict[str, Any]]) -> Chart:
    """Draw figures by epoch, with a colour for each run and a dash pattern for each figure."""
    alt, accuracy = altair(), title == "Held-out accuracy"
    shown, whats = distinct(row["model"] for row in rows), distinct(row["what"] for row in rows)
    dash = alt.Legend(title=None, symbolType="stroke") if len(whats) > 1 else None
    axis = {"axis": percent()} if accuracy else {}
    axis |= {"title": None, "scale": alt.Scale(zero=accuracy or title == TITLES["lr"])}  # a constant rate has no range
    scale = alt.Scale(zero=False, nice=False)
    base = alt.Chart(alt.Data(values=rows)).encode(
        alt.X("epoch:Q", axis=alt.Axis(values=_ticks(rows), format="d", grid=False), scale=scale),
        colour([run.name for run in runs], shown),
    )
    ends = between() if any("low" in row for row in rows) else []
    value = alt.Tooltip("value:Q", format=".1%" if accuracy else ".4~g")
    line = base.mark_line(point={"size": 24, "filled": True}).encode(
        alt.Y("value:Q", **axis),
        alt.StrokeDash("what:N", sort=whats, legend=dash),
        tooltip=["model:N", "epoch:Q", "what:N", value, *ends],
    )
    if ends:
        area = base.mark_area(opacity=0.13, strokeWidth=0)
        line = alt.layer(area.encode(alt.Y("low:Q", **axis), alt.Y2("high:Q"), alt.Detail("what:N")), line)
    return Chart(title, label, specification(line, 260))


def _ticks(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Return at most six whole epochs for the axis: the first, and multiples of 1, 2 or 5 times a power of ten."""
    first, last = (int(limit(row["epoch"] for row in rows)) for limit in (min, max))
    step = next(n * 10**power for power in range(9) for n in (1, 2, 5) if (last - first) / (n * 10**power) <= 5)
    return [first, *(epoch for epoch in range(step, last + 1, step) if epoch >= first + step / 2)]


def _drawn_epochs(runs: Sequence[ReportedRun], run: ReportedRun) -> Sequence[Epoch]:
    """Return every epoch of a run, or every second, third, ... and the last if the runs have too many epochs."""
    step = ceil(sum(len(other.epochs) for other in runs) / MOST) or 1
    return [row for i, row in enumerate(run.epochs) if i % step == 0 or i == len(run.epochs) - 1]


def _json_number(value: float) -> float | None:
    """Round to five significant digits; return `None` if the number is not finite, as JSON has no such numbers."""
    return float(f"{value:.5g}") if isfinite(value) else None
