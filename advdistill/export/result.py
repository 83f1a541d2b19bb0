"""Facts about an exported file: its `Result`, size, checksum, latency, and how closely its twin follows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .._internal.packages import installed
from ..models.price import latency
from ..results.result import Measurement, Result
from .artefact import Artefact, compare_logits
from .runtime import session

__all__ = ["NOT_MEASURED", "WORST", "ExportedResult", "file_facts", "robust", "versions"]

WORST = "worst-case"
NOT_MEASURED = "not measured"
FLOAT_ONNX, TORCH = "float ONNX", "torch"
TWIN_LIMIT, TWIN_AGREEMENT = 0.05, 0.9  # values between two levels may round to either; more is another network
PACKAGES = ("advdistill", "torch", "onnx", "onnxruntime", "pyautoattack")


@dataclass(frozen=True)
class ExportedResult(Result):
    """The measurements of one file; `weights` identifies what the file computes, whatever its metadata.

    Args:
        file: the file's name, kind, bytes and sha256, the sha256 of its source, parity with the network it was made
            from, latency; plain values, to be written as JSON.
    """

    file: Mapping[str, object] = field(default_factory=dict)

    @property
    def robust(self) -> str:
        """The robust accuracy in words, or that it was not measured."""
        return robust(self.measurements, self.data, self.threat)


def robust(measurements: tuple[Measurement, ...], data: str, threat: str) -> str:
    """Return the accuracy under all attacks together, with interval, images and threat; else `not measured`."""
    worst = next((m for m in measurements if m.attack == WORST), None)
    if worst is None:
        return NOT_MEASURED
    low, high = (100 * bound for bound in worst.interval)
    return (
        f"{100 * worst.accuracy:.1f} % (95 % interval {low:.1f} to {high:.1f}) of the first {worst.n} images of "
        f"{data}, {threat}: {worst.settings}"
    )


def file_facts(
    artefact: Artefact,
    path: Path,
    network: nn.Module,
    file: nn.Module,
    gradient_networks: Mapping[str, nn.Module | None],
    images: Tensor,
) -> dict[str, Any]:
    """Return the name, kind, sizes, twin's parity and latency of a file, as plain values by name.

    Args:
        network: the network that the artefact was made from.
        file: the artefact, opened from `path`.
        gradient_networks: as returned by `routes`.
        images: `[N, C, H, W]` in [0, 1].

    Raises:
        ValueError: the logits of the twin differ too much from those of the file.
    """
    known = {"name": path.name, "kind": artefact.kind, "bytes": path.stat().st_size}
    rivals = {path.name: file, TORCH: network}
    if artefact.plain is not None:
        known["bytes_of_float_onnx"] = len(artefact.plain)
        rivals[FLOAT_ONNX] = session(artefact.plain, threads=1)
    if twin := gradient_networks.get("twin-"):
        parity = compare_logits(file, twin, images)
        parity.check(f"The twin that attacks would climb does not follow {path.name}", TWIN_LIMIT, TWIN_AGREEMENT)
        known["twin"] = vars(parity)
    if artefact.graph is not None:
        rivals[path.name] = session(path, threads=1)
    return known | {"latency_ms": latency(rivals, images[:1])}


def versions() -> dict[str, str]:
    """Return the versions of the packages involved, if installed."""
    return installed(*PACKAGES)
