"""Digests of weights, read from files without torch, and checks that a result matches the weights next to it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .._internal.reading import ordinary, printable
from .consistency import same_weights
from .result import Result

__all__ = ["ORDER", "check_result", "digest_of", "digest_of_file", "weights_mismatch", "weights_next_to"]

ORDER = "order"  # header key: tensor names in the network's order, which is that of hashing; the file sorts them


def digest_of(tensors: Iterable[tuple[str, np.ndarray]], normalisation: tuple[Any, Any] | None = None) -> str:
    """Return twelve hex digits that identify weights, `+`, and eight that identify the normalisation outside them.

    Args:
        tensors: names and values; the digest depends on their order.
        normalisation: mean and std `[C]` that are not among the weights; `None` if unknown: then `+` is left out.
    """
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:12] + ("" if normalisation is None else f"+{_digest_of_normalisation(*normalisation)}")


def digest_of_file(file: Path) -> str | None:
    """Return the digest of a checkpoint's weights in fp32, or `None` if the file is damaged or lacks their order."""
    try:
        with safe_open(ordinary(file), "np") as opened:
            header = opened.metadata() or {}
            names, spec = (json.loads(header.get(name, "null")) for name in (ORDER, "spec"))
            if not isinstance(names, list) or sorted(map(str, names)) != sorted(opened.keys()):
                return None
            normalisation = None if spec is None else (spec.get("mean"), spec.get("std"))
            return digest_of(((name, _in_fp32(opened.get_tensor(name))) for name in names), normalisation)
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError):  # also bfloat16, which numpy lacks
        return None


def weights_next_to(result: Path) -> Path | None:
    """Return the weights next to a result's file: NAME.safetensors, best.safetensors or model.safetensors."""
    folder = result.parent
    ours = [folder / "best.safetensors", folder / "model.safetensors"] if result.name == "result.json" else []
    return next(filter(Path.is_file, [result.with_suffix(".safetensors"), *ours]), None)


def weights_mismatch(file: Path, result: Result, digest: Callable[[Path], str | None] | None = None) -> str | None:
    """Return a sentence if a result was measured on other weights than those next to its file, else `None`.

    Args:
        digest: called if `digest_of_file` returns `None`, as for a file of an earlier version.
    """
    beside = weights_next_to(file)
    if beside is None or result.weights is None:
        return None
    found = digest_of_file(beside) or (digest(beside) if digest else None)
    if found is None or same_weights(found, result.weights):
        return None
    what = file.parent if beside.name == "best.safetensors" else beside
    return (
        f"{file} was measured on weights {printable(result.weights)}, and {beside.name} beside it has {found}: "
        f"another epoch, or another model. Measure again: advdistill evaluate {what}"
    )


def check_result(path: Path, digest: Callable[[Path], str | None] | None = None) -> None:
    """Raise ValueError if a result, a file or a run's folder, was measured on other weights than those next to it."""
    file = path / "result.json" if path.is_dir() else path
    if file.exists() and (said := weights_mismatch(file, Result.load(file), digest)):
        raise ValueError(said)


def _digest_of_normalisation(mean: Any, std: Any) -> str:
    """Return eight hex digits; `None` for mean or std is the identity, the same as zeros or ones."""
    means, stds = np.broadcast_arrays(np.float32(0 if mean is None else mean), np.float32(1 if std is None else std))
    identity = not means.any() and bool((stds == 1).all())
    return hashlib.sha256(b"" if identity else means.tobytes() + stds.tobytes()).hexdigest()[:8]


def _in_fp32(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float32) if np.issubdtype(tensor.dtype, np.floating) else tensor
