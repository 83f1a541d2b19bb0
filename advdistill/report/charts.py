"""Vega-Lite charts of the report page, built with Altair: shared parts, accuracy against eps, accuracy by class.

The page sets colours and fonts when it draws a chart, so that charts follow the light and dark themes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from .._internal.packages import require
from ..results.inspection import Network
from ..results.result import Measurement
from .compare import distinct
from .loading import ReportedRun

__all__ = [
    *("Chart", "altair", "between", "class_charts", "colour", "curve_charts", "figures", "javascript", "networks"),
    *("percent", "specification"),
]

MOST = 20  # classes in one chart


@dataclass(frozen=True)
class Chart:
    """A chart as a Vega-Lite specification and as text.

    Attributes:
        label: a text alternative, for screen readers.
        rows: the numbers drawn; empty if there are too many to read.
    """

    title: str
    label: str
    spec: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)


def altair() -> ModuleType:
    return require("altair", "The report", "report")


@cache
def javascript() -> str:
    """Return the source of Vega, Vega-Lite and Vega-Embed, in the Vega-Lite version that Altair targets."""
    bundle = require("vl_convert", "The report", "report").javascript_bundle
    version = ".".join(altair().SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return bundle(vl_version=version).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def specification(chart: Any, height: float) -> dict[str, Any]:
    """Return a chart's specification, as wide as its container; the page shows the title."""
    spec = chart.properties(width="container", height=height).to_dict()
    return {name: value for name, value in spec.items() if name != "config"}


def figures(measured: Measurement) -> dict[str, float]:
    """Return the accuracy, the ends of its 95 % interval, and n, as fields of a row."""
    low, high = measured.interval
    exact = {"accuracy": measured.accuracy, "low": low, "high": high}
    return {name: round(value, 5) for name, value in exact.items()} | {"n": measured.n}


def colour(domain: Sequence[str], shown: Sequence[str]) -> Any:
    """Return an encoding that gives each model the same colour in every chart of the page."""
    alt = altair()
    return alt.Color("model:N", scale=alt.Scale(domain=list(domain)), legend=legend(shown))


def legend(shown: Sequence[str]) -> Any:
    """Return a legend of the models in a chart, or `None` unless there are several."""
    return altair().Legend(values=list(shown), title=None, symbolOpacity=1) if len(shown) > 1 else None


def percent() -> Any:
    return altair().Axis(format="%", tickCount=5)


def between() -> list[Any]:
    """Return tooltip fields for the ends of the interval."""
    return [altair().Tooltip(f"{end}:Q", format=".1%") for end in ("low", "high")]


def networks(runs: Sequence[ReportedRun]) -> list[tuple[str, str, Network]]:
    """Return the inspected networks as `(name, run, figures)`: all students, then each other network once.

    A teacher may be shared by several runs, or be the student of one of them.
    """
    inspected = [(run.name, run.inspection.networks) for run in runs if run.inspection]
    students = [(name, name, found["student"]) for name, found in inspected]
    known = {_counts(network) for _, _, network in students}
    teachers: dict[str, tuple[Network, list[str]]] = {}
    for name, found in inspected:
        teacher = found.get("teacher")
        if teacher and _counts(teacher) not in known:
            teachers.setdefault(_counts(teacher), (teacher, []))[1].append(name)
    shared = len(teachers) == 1 and len(inspected) == len(next(iter(teachers.values()))[1])
    return students + [
        ("teacher" if shared else f"teacher of {', '.join(names)}", names[0], teacher)
        for teacher, names in teachers.values()
    ]


def _counts(network: Network) -> str:
    """Return the correct counts by eps and by class as a key: networks with equal counts are taken as the same."""
    return str([(eps, m.n, m.correct) for eps, m in network.curve.items()]) + str(network.classes)


def _networks_by_name(runs: Sequence[ReportedRun]) -> dict[str, Network]:
    return {name: network for name, _, network in networks(runs)}


def curve_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Chart PGD-20 accuracy against eps, with 95 % bands; the eps of each result is marked."""
    alt, shown = altair(), _networks_by_name(runs)
    if not shown:
        return []
    inspected = [run.inspection for run in runs if run.inspection]
    in_levels = all("/255" in one.threat for one in inspected)
    unit = 255 if in_levels else 1
    rows = [
        {"model": name, "eps": round(eps * unit, 6)} | figures(m)
        for name, network in shown.items()
        for eps, m in network.curve.items()
    ]
    title = "eps, in 255ths" if in_levels else "eps, where white is 1"
    axis = alt.Axis(grid=False, labelFlush=False, tickCount=8)
    x = alt.X("eps:Q", title=title, axis=axis, scale=alt.Scale(nice=False))
    accuracy = {"title": "accuracy", "axis": percent(), "scale": alt.Scale(domainMin=0)}
    domain = _model_names(runs, shown)
    drawn = alt.Chart(alt.Data(values=rows)).encode(x, colour(domain, list(shown)))
    line = drawn.encode(alt.Y("accuracy:Q", **accuracy))
    shape = alt.Shape("model:N", scale=alt.Scale(domain=domain), legend=legend(list(shown)))
    said = ["model:N", "eps:Q", alt.Tooltip("accuracy:Q", format=".1%"), *between(), "n:Q"]
    marked = alt.Data(values=[{"eps": round(one.eps * unit, 6)} for one in inspected])
    chart = alt.layer(
        alt.Chart(marked).mark_rule(strokeDash=[3, 4]).encode(x),
        drawn.mark_area(opacity=0.16).encode(alt.Y("low:Q", **accuracy), alt.Y2("high:Q")),
        line.mark_line(),
        line.mark_point(filled=True, size=50, opacity=1).encode(shape, tooltip=said),
    )
    return [Chart("Accuracy under PGD-20 against eps", _curves_in_words(shown, unit), specification(chart, 320), rows)]


def class_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Chart the accuracy of each class, clean and under attack; of many classes, only the first network's worst."""
    charts = []
    for names in dict.fromkeys(run.inspection.class_names for run in runs if run.inspection):
        labels = [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]  # Tiny ImageNet
        shown = _networks_by_name([run for run in runs if run.inspection and run.inspection.class_names == names])
        attacks = distinct(attack for network in shown.values() for attack in network.classes)
        drawn, few = list(range(len(names))), ""
        if len(names) > MOST:
            drawn = _worst_classes(next(iter(shown.values())).classes, attacks[-1])
            few = f", {MOST} worst of {len(names)} classes"
        for attack in attacks:
            rows = [
                {"model": model, "class": labels[i]} | figures(Measurement(attack, "", n, correct, 0))
                for i in drawn
                for model, network in shown.items()
                for n, correct in network.classes.get(attack, [])[i : i + 1]
                if n
            ]
            charts.append(_class_bars(_model_names(runs, _networks_by_name(runs)), list(shown), f"{attack}{few}", rows))
    return charts


def _class_bars(domain: Sequence[str], shown: Sequence[str], what: str, rows: list[dict[str, Any]]) -> Chart:
    alt = altair()
    offset = alt.YOffset("model:N", scale=alt.Scale(domain=list(shown), paddingInner=0.15))
    named = alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=110, ticks=False, domain=False))
    base = alt.Chart(alt.Data(values=rows)).encode(named, offset)
    x = {"title": "accuracy", "axis": percent(), "scale": alt.Scale(domain=[0, 1])}
    said = ["class:N", "model:N", alt.Tooltip("accuracy:Q", format=".1%"), *between(), "n:Q"]
    bars = base.mark_bar().encode(alt.X("accuracy:Q", **x), colour(domain, shown), tooltip=said)
    ends = base.mark_rule(opacity=0.75).encode(alt.X("low:Q", **x), alt.X2("high:Q"))
    least = min(rows, key=lambda row: row["accuracy"])
    title = f"Accuracy by class, {what}"
    height = len(distinct(row["class"] for row in rows)) * (10 * len(shown) + 8)
    label = f"{title}. The lowest is {least['accuracy']:.1%}: class {least['class']} of {least['model']}."
    return Chart(title, label, specification(alt.layer(bars, ends), height), rows)


def _model_names(runs: Sequence[ReportedRun], shown: Mapping[str, Network]) -> list[str]:
    return distinct([*(run.name for run in runs), *shown])


def _worst_classes(classes: Mapping[str, Sequence[tuple[int, int]]], attack: str) -> list[int]:
    counted = classes.get(attack, next(iter(classes.values())))
    present = [i for i, (n, _) in enumerate(counted) if n]
    return sorted(present, key=lambda i: counted[i][1] / counted[i][0])[:MOST]


def _curves_in_words(shown: Mapping[str, Network], unit: float) -> str:
    said = (
        f"{name}: " + ", ".join(f"{m.accuracy:.1%} at {eps * unit:.4g}" for eps, m in network.curve.items())
        for name, network in shown.items()
    )
    return f"Accuracy under PGD-20 against eps. {'. '.join(said)}."
