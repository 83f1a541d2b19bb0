"""A study's findings as one self-contained HTML page."""

from collections.abc import Iterator, Mapping
from typing import Any

from .._internal.packages import require
from ..report.charts import Chart, altair, percent, specification
from ..report.page import render
from .findings import Effect, Findings
from .tables import captions, effect_head, effect_rows, group_head, group_rows

__all__ = ["check", "page"]


def check() -> None:
    """Raise ImportError if a package of the extra `study` is missing."""
    require("scipy", "A study", "study")
    require("jinja2", "A study", "study")
    require("altair", "A study", "study")
    require("vl_convert", "A study", "study")


def page(found: Findings) -> str:
    """Return a page with the tables, and charts of robust against clean accuracy and of the effect of each level."""
    versions = next(iter(found.groups[0].results.values())).result.versions
    return render(
        {
            "title": found.study.name + (", held-out images" if found.held_out else ""),
            "captions": captions(found), "version": versions.get("advdistill", ""),
            "head": group_head(found), "rows": list(group_rows(found)),
            "effect_head": effect_head(found), "effects": list(effect_rows(found)),
            "charts": {"groups": [_accuracies(found)], "effects": list(_effects(found))},
        },
        "study.html",
    )  # fmt: skip


def _accuracies(found: Findings) -> Chart:
    alt, measured = altair(), "clean" in found.attacks
    axis = next(iter(found.groups[0].levels), None)
    rows: list[dict[str, Any]] = [
        {"cell": group.name, "colour": group.levels.get(axis, "all") if axis else "all",
         "clean": group.figure("clean" if measured else found.robust)[0], "robust": group.figure(found.robust)[0]}
        for group in found.groups
    ]  # fmt: skip
    points = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=70, opacity=0.85)
    chart = points.encode(
        alt.X("clean:Q", title="clean accuracy", axis=percent(), scale=alt.Scale(zero=False)),
        alt.Y("robust:Q", title=f"accuracy under {found.robust}", axis=percent(), scale=alt.Scale(zero=False)),
        alt.Color("colour:N", title=None), alt.Shape("colour:N", title=None),
        tooltip=["cell:N", alt.Tooltip("clean:Q", format=".1%"), alt.Tooltip("robust:Q", format=".1%")],
    )  # fmt: skip
    best = max(rows, key=lambda row: float(row["robust"]))
    title = f"Clean accuracy and accuracy under {found.robust}, means over seeds"
    return Chart(title, f"{title}. The highest is {best['robust']:.1%}: {best['cell']}.", specification(chart, 320))


def _effects(found: Findings) -> Iterator[Chart]:
    """Yield a chart of all levels over all pairs, then a chart by method for each level."""
    overall = {f"{one.level} – {one.reference}": one for one in found.effects if not one.within}
    if overall:
        yield _intervals(f"Points under {found.robust}", overall)
    by_method = [one for one in found.effects if one.within]
    for level, reference in dict.fromkeys((one.level, one.reference) for one in by_method):
        inside = {one.within: one for one in by_method if (one.level, one.reference) == (level, reference)}
        yield _intervals(f"Points under {found.robust}: {level} – {reference}, by method", inside)


def _intervals(title: str, effects: Mapping[str, Effect]) -> Chart:
    alt = altair()
    rows = [
        {"choice": name, "points": round(100 * one.robust.value, 3), "low": round(100 * one.robust.interval[0], 3),
         "high": round(100 * one.robust.interval[1], 3)}
        for name, one in effects.items()
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(
        alt.Y("choice:N", sort=None, title=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False))
    )
    x = {"title": "points"}
    zero = alt.Chart(alt.Data(values=[{"points": 0}])).mark_rule(strokeDash=[3, 4]).encode(alt.X("points:Q", **x))
    ends = base.mark_rule().encode(alt.X("low:Q", **x), alt.X2("high:Q"))
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        alt.X("points:Q", **x), tooltip=["choice:N", "points:Q", "low:Q", "high:Q"]
    )
    label = f"{title}, with 95 % intervals. " + "; ".join(
        f"{row['choice']}: {row['points']:+.1f} ({row['low']:.1f} to {row['high']:.1f})" for row in rows
    )
    return Chart(title, label, specification(alt.layer(zero, ends, dots), 24 * len(rows) + 20))
