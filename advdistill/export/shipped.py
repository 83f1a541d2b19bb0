"""What is known of a file that ships: a `Result`, and beyond it the file itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..results.result import Measurement, Result

__all__ = ["NOT_MEASURED", "WORST", "Shipped", "robust"]

WORST = "worst-case"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Shipped(Result):
    """The measurements of one file; `weights` names what it computes, whatever its metadata.

    Args:
        file: its name, kind, bytes and sha256, the sha256 of its source, parity with the network it was made from,
            latency. Plain values, to be written as JSON.
    """

    file: Mapping[str, object] = field(default_factory=dict)

    @property
    def robust(self) -> str:
        """The robust accuracy in words, or that it was not measured."""
        return robust(self.measurements, self.data, self.threat)


def robust(measurements: tuple[Measurement, ...], data: str, threat: str) -> str:
    """The figure under all attacks together, with its interval and what it is a figure of; else `not measured`."""
    worst = next((m for m in measurements if m.attack == WORST), None)
    if worst is None:
        return NOT_MEASURED
    low, high = (100 * bound for bound in worst.interval)
    return (
        f"{100 * worst.accuracy:.1f} % (95 % interval {low:.1f} to {high:.1f}) of the first {worst.n} images of "
        f"{data}, {threat}: {worst.settings}"
    )
