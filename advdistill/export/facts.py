"""What is known of a file besides its accuracy: size, checksum, latency, and how well its twin follows it."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..models.price import latency
from .artefact import Artefact
from .opened import session
from .parity import compare

__all__ = ["facts", "versions"]

FLOAT_ONNX, TORCH = "float ONNX", "torch"
TWIN_LIMIT, TWIN_AGREEMENT = 0.05, 0.9  # a value between two levels may fall to either; more is another network
PACKAGES = ("advdistill", "torch", "onnx", "onnxruntime", "pyautoattack")


def facts(
    artefact: Artefact,
    path: Path,
    network: nn.Module,
    file: nn.Module,
    climbed: Mapping[str, nn.Module | None],
    images: Tensor,
) -> dict[str, Any]:
    """Plain values by name.

    Args:
        network: what the artefact was made from.
        file: the artefact, opened from `path`.
        climbed: as `routes` gives it.
        images: `[N, C, H, W]` in [0, 1].

    Raises:
        ValueError: the twin computes something else than the file.
    """
    known = {"name": path.name, "kind": artefact.kind, "bytes": path.stat().st_size}
    rivals = {path.name: file, TORCH: network}
    if artefact.plain is not None:
        known["bytes_of_float_onnx"] = len(artefact.plain)
        rivals[FLOAT_ONNX] = session(artefact.plain, threads=1)
    if twin := climbed.get("twin-"):
        parity = compare(file, twin, images)
        parity.check(f"The twin that attacks would climb does not follow {path.name}", TWIN_LIMIT, TWIN_AGREEMENT)
        known["twin"] = vars(parity)
    if artefact.graph is not None:
        rivals[path.name] = session(path, threads=1)
    return known | {"latency_ms": latency(rivals, images[:1])}


def versions() -> dict[str, str]:
    """Of the packages that take part, where they are installed."""
    return {package: found for package in PACKAGES if (found := _version(package))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
