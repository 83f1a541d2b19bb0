"""What all charts share: Vega-Lite by Altair, and the JavaScript that draws it without a network.

Colours and fonts are the page's, given when a chart is drawn, so that it follows light and dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from .._internal.optional import require
from ..results.result import Measurement

__all__ = ["Chart", "altair", "between", "colour", "figures", "javascript", "legend", "percent", "specification"]


@dataclass(frozen=True)
class Chart:
    """A specification of Vega-Lite, and the same in words.

    Attributes:
        label: what is seen, for those who do not see it.
        rows: the figures drawn, where they are few enough to be read.
    """

    title: str
    label: str
    spec: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)


def altair() -> ModuleType:
    return require("altair", "The report", "report")


@cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed, of the version that Altair writes for."""
    bundle = require("vl_convert", "The report", "report").javascript_bundle
    version = ".".join(altair().SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return bundle(vl_version=version).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def specification(chart: Any, height: float) -> dict[str, Any]:
    """As wide as its place; the title stands in the page."""
    spec = chart.properties(width="container", height=height).to_dict()
    return {name: value for name, value in spec.items() if name != "config"}


def figures(measured: Measurement) -> dict[str, float]:
    """Accuracy, the ends of its 95 % interval, and n, as a row's fields."""
    low, high = measured.interval
    exact = {"accuracy": measured.accuracy, "low": low, "high": high}
    return {name: round(value, 5) for name, value in exact.items()} | {"n": measured.n}


def colour(domain: Sequence[str], shown: Sequence[str]) -> Any:
    """A colour for each model, the same in every chart of the page."""
    alt = altair()
    return alt.Color("model:N", scale=alt.Scale(domain=list(domain)), legend=legend(shown))


def legend(shown: Sequence[str]) -> Any:
    """Of the models in a chart, if there are several."""
    return altair().Legend(values=list(shown), title=None, symbolOpacity=1) if len(shown) > 1 else None


def percent() -> Any:
    return altair().Axis(format="%", tickCount=5)


def between() -> list[Any]:
    """The interval's ends, in a tooltip."""
    return [altair().Tooltip(f"{end}:Q", format=".1%") for end in ("low", "high")]
