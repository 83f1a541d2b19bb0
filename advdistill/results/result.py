"""A result: what was measured, on what, with which code. Accuracies are fractions."""

import json
from dataclasses import MISSING, asdict, dataclass, fields, replace
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self, TypedDict, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from .._internal.files import write_json
from .._internal.reading import printable, read_text

__all__ = ["Counted", "Measurement", "Result", "build", "wilson"]


MOST = 10**12  # images


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion of which `successes` out of `n` were seen.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),   p = successes / n

    Reference: Wilson, Probable inference, the law of succession, and statistical inference. JASA 1927.
    """
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), successes / n
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, (p + z**2 / (2 * n) - half) / scale), min(1.0, (p + z**2 / (2 * n) + half) / scale)


class Counted:
    """What follows from `correct` of `n` images."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(self.correct, self.n)


@dataclass(frozen=True)
class Measurement(Counted):
    """How many of the first `n` images a model classified correctly under one attack."""

    attack: str
    settings: str
    n: int
    correct: int
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n <= MOST or not self.n:
            counted = f"{printable(self.correct)} of {printable(self.n)}"
            raise ValueError(f"{printable(self.attack)}: {counted} images cannot be right.")


@dataclass(frozen=True)
class Result:
    """The measurements of one model.

    Args:
        model: its name.
        data: the split, such as `"cifar10/test"`.
        fingerprint: twelve hex digits that name the whole split's images and labels.
        threat: such as `"Linf 8/255"`.
        eps: the same eps as a number, where 1 is white.
        weights: twelve hex digits that name the model's weights.
        chosen: how the checkpoint was selected, a sentence.
        date: UTC, ISO 8601.
        versions: of the packages that took part.
        command: what was typed.
    """

    model: str
    data: str
    fingerprint: str
    threat: str
    eps: float
    seed: int
    measurements: tuple[Measurement, ...]
    date: str
    versions: dict[str, str]
    weights: str | None = None
    chosen: str | None = None
    command: str | None = None

    def __getitem__(self, attack: str) -> Measurement:
        return {m.attack: m for m in self.measurements}[attack]

    def joined(self, earlier: "Result") -> Self | None:
        """This result with the other attacks of an earlier one, or `None` if they were not measured alike."""
        if self._setting() != earlier._setting():
            return None
        measured = {m.attack: m for m in (*earlier.measurements, *self.measurements)}
        return replace(self, measurements=tuple(measured.values()))

    def _setting(self) -> tuple[object, ...]:
        images = {m.n for m in self.measurements}
        return self.model, self.weights, self.data, self.fingerprint, self.threat, self.seed, self.chosen, images

    def save(self, path: Path | str) -> None:
        """Write JSON; accuracies and intervals stand beside the counts."""
        derived = [
            asdict(m) | {"accuracy": round(m.accuracy, 6), "interval": [round(bound, 6) for bound in m.interval]}
            for m in self.measurements
        ]
        write_json(path, asdict(self) | {"measurements": derived})

    @staticmethod
    def load(path: Path | str) -> "Result":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: truncated, not JSON, or the JSON of something else.
        """
        text = read_text(path)
        try:
            values = check_type(json.loads(text), dict)
            if "measurements" in values:
                values["measurements"] = tuple(build(Measurement, m) for m in check_type(values["measurements"], list))
            return build(Result, values)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"{path} is truncated or not JSON. Run the evaluation again.") from None
        except (TypeCheckError, ValueError) as error:
            raise ValueError(f"{path} is not a result of advdistill: {printable(error)}") from None


def build(kind: type, values: Any) -> Any:
    """A dataclass from plain values, their types checked; unknown fields are left out.

    Raises:
        TypeCheckError: a field is missing or of another type.
    """
    hints = get_type_hints(kind)
    known = {name: value for name, value in check_type(values, dict).items() if name in hints}
    absent = {f.name for f in fields(kind) if f.default is not MISSING} - known.keys()  # in files of earlier versions
    wanted = TypedDict(kind.__name__, {n: h for n, h in hints.items() if n not in absent})  # type: ignore[misc]  # dynamic
    return kind(**check_type(known, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS))
