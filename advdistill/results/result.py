"""A result: what was measured, on which data, with which versions. Accuracies are fractions."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import inf, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Self

from typeguard import TypeCheckError, check_type

from .._internal.files import write_json
from .._internal.reading import printable, read_text
from .consistency import check_derived, check_eps, same_weights
from .plain import build
from .selection import Selection

__all__ = ["Counted", "Measurement", "Result", "hardest", "wilson"]


MOST = 10**12  # images
NO_GRADIENT = 0.01  # share of images; up to this it may be chance, above it is a property of the model


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of a proportion, from `successes` out of `n`.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),   p = successes / n

    Args:
        successes: how many of `n`.
        n: at least 1.
        confidence: confidence level of the interval, in (0, 1).

    Returns:
        The interval's lower and upper end, in [0, 1].

    >>> [round(end, 3) for end in wilson(50, 100)]
    [0.404, 0.596]

    Reference: Wilson, Probable inference, the law of succession, and statistical inference. JASA 1927.
    """
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), successes / n
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, (p + z**2 / (2 * n) - half) / scale), min(1.0, (p + z**2 / (2 * n) + half) / scale)


class Counted:
    """Properties derived from `correct` of `n` images."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        """A fraction, correct / n."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(self.correct, self.n)


@dataclass(frozen=True)
class Measurement(Counted):
    """How many of the first `n` images a model classified correctly under one attack.

    Args:
        outside: images whose x' the attack moved outside the threat model or [0, 1]; x is counted in its place.
        no_gradient: images where the gradient of the attack's first step is zero or not finite; `None` if the attack
            uses no gradients, or if this was not measured.
    """

    attack: str
    settings: str
    n: int
    correct: int
    seconds: float
    outside: int = 0
    no_gradient: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n <= MOST or not self.n:
            counted = f"{printable(self.correct)} of {printable(self.n)}"
            raise ValueError(f"{printable(self.attack)}: {counted} images correct is impossible.")
        for name in ("outside", "no_gradient"):
            if not 0 <= (getattr(self, name) or 0) <= self.n:
                counted = f"{printable(getattr(self, name))} of {self.n}"
                raise ValueError(f"{printable(self.attack)}: {name} for {counted} images is impossible.")
        if not 0 <= self.seconds < inf:
            raise ValueError(f"{printable(self.attack)}: {self.seconds} seconds is impossible.")

    @property
    def remark(self) -> str:
        """Caveats on these figures, joined by semicolons; empty if there are none."""
        said = []
        if self.outside:
            moved = f"x' of {self.outside} of {self.n} images"
            said.append(f"{moved} are outside the threat model or [0, 1] and break nothing")
        if self.no_gradient and self.no_gradient / self.n > NO_GRADIENT:
            said.append(
                f"no gradient to climb, zero or not finite, at {self.no_gradient / self.n:.1%} of the images, so this "
                "figure may be far too high: run autoattack or square-100, which need none"
            )
        return "; ".join(said)


def hardest(measurements: Iterable[Measurement]) -> Measurement | None:
    """Return the measurement of the robust accuracy: the one under the attack with the lowest accuracy.

    Args:
        measurements: of one model, with or without `clean`.

    Returns:
        On a tie AutoAttack's, else the one measured last; `None` if no attack was measured.
    """
    attacked = [m for m in measurements if m.attack != "clean"]
    return min(reversed(attacked), key=lambda m: (m.accuracy, m.attack != "autoattack"), default=None)


@dataclass(frozen=True)
class Result:
    """The measurements of one model.

    Args:
        model: the model's name.
        data: the split, such as `"cifar10/test"`.
        fingerprint: twelve hex digits of the hash of the whole split's images and labels.
        threat: such as `"Linf 8/255"`.
        eps: the threat model's eps as a number, for pixels in [0, 1].
        weights: twelve hex digits of the hash of the model's weights, `+` and eight of its normalisation's, if known.
        chosen: how the checkpoint was chosen; `None` if unknown.
        date: UTC, ISO 8601.
        versions: of the packages used.
        command: the command line.

    Example:
        >>> measured = (Measurement("clean", "", 100, 80, 1.0), Measurement("pgd-20", "PGD-20", 100, 50, 9.0))
        >>> result = Result("student", "digits/test", "b94169546686", "Linf 0.1", 0.1, 0, measured, "2026-01-02", {})
        >>> result["pgd-20"].accuracy, [round(end, 3) for end in result["pgd-20"].interval]
        (0.5, [0.404, 0.596])
        >>> print(result)
        student on digits/test (b94169546686), Linf 0.1, seed 0
          clean    80.0 %  ( 71.1-86.7)  of 100 images
          pgd-20   50.0 %  ( 40.4-59.6)  of 100 images
        Robust accuracy of student: 50.0 % under pgd-20.
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
    chosen: Selection | None = None
    command: str | None = None

    def __getitem__(self, attack: str) -> Measurement:
        return {m.attack: m for m in self.measurements}[attack]

    @property
    def hardest(self) -> Measurement | None:
        """The measurement with the lowest accuracy under attack; on a tie AutoAttack's, else the one measured last."""
        return hardest(self.measurements)

    @property
    def headline(self) -> str:
        """A sentence with the robust accuracy and its attack; empty if no attack was measured."""
        found, attacks = self.hardest, [m for m in self.measurements if m.attack != "clean"]
        if found is None:
            return ""
        alike = [m.attack for m in attacks if m.accuracy == found.accuracy and m is not found]
        tie = f", as under {', '.join(alike)}" if alike else ""
        least = f", the lowest of {len(attacks)} attacks" if len(attacks) > 1 else ""
        return f"Robust accuracy of {self.model}: {100 * found.accuracy:.1f} % under {found.attack}{least}{tie}."

    def __str__(self) -> str:
        """Return a table of the measurements and the robust accuracy, for `print`."""
        width = max((len(m.attack) for m in self.measurements), default=0)
        lines = [f"{self.model} on {self.data} ({self.fingerprint}), {self.threat}, seed {self.seed}"]
        for m in self.measurements:
            low, high = (100 * end for end in m.interval)
            interval = f"{low:.1f}-{high:.1f}"
            lines.append(f"  {m.attack:<{width}}  {100 * m.accuracy:5.1f} %  ({interval:>10})  of {m.n} images")
        return "\n".join(filter(None, [*lines, self.headline]))

    def joined(self, earlier: "Result") -> Self | None:
        """Return this result with the other attacks of an earlier one, or `None` if model, data or settings differ."""
        if self._setting() != earlier._setting() or not same_weights(self.weights, earlier.weights):
            return None
        measured = {m.attack: m for m in (*earlier.measurements, *self.measurements)}
        return replace(self, measurements=tuple(measured.values()))

    def _setting(self) -> tuple[object, ...]:
        images = {m.n for m in self.measurements}
        return self.model, self.data, self.fingerprint, self.threat, self.seed, str(self.chosen), images

    def save(self, path: Path | str) -> None:
        """Write JSON, with counts, accuracies and intervals."""
        derived = [
            asdict(m)
            | {"accuracy": round(m.accuracy, 6), "interval": [round(bound, 6) for bound in m.interval]}
            | ({"remark": m.remark} if m.remark else {})
            for m in self.measurements
        ]
        write_json(path, asdict(self) | {"measurements": derived})

    @staticmethod
    def load(path: Path | str) -> "Result":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, not JSON, not a result, or contradicts itself.
        """
        text = read_text(path)
        try:
            values = check_type(json.loads(text), dict)
            written = check_type(values.get("measurements", []), list)
            if "measurements" in values:
                values["measurements"] = tuple(build(Measurement, m) for m in written)
            if values.get("chosen") is not None:
                values["chosen"] = Selection.from_plain(values["chosen"])
            result: Result = build(Result, values)
            if len({m.attack for m in result.measurements}) < len(result.measurements):
                raise ValueError("it has two measurements of one attack")
            check_eps(result.threat, result.eps)
            for measured, values in zip(result.measurements, written, strict=True):
                check_derived(measured, values)
            return result
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"{path} is truncated or not JSON. Run the evaluation again.") from None
        except (TypeCheckError, ValueError) as error:
            raise ValueError(
                f"{path} is not a result of advdistill: {printable(error).rstrip('.')}. Delete it, or evaluate again."
            ) from None
