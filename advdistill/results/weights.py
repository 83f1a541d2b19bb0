"""The model that a result is of, and the weights beside it: their digests, read from the file without torch."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .._internal.reading import ordinary, printable
from .digests import same_weights
from .result import Result

__all__ = ["ORDER", "check_result", "digest_of", "digest_of_file", "of_other_weights", "weights_beside"]

ORDER = "order"  # the header's list of names in the network's order, in which they are hashed; the file sorts them


def digest_of(tensors: Iterable[tuple[str, np.ndarray]], normalisation: tuple[Any, Any] | None = None) -> str:
    """Twelve hex digits that name weights, `+`, and eight that name the normalisation that is outside them.

    Args:
        tensors: names and values; the digest depends on their order.
        normalisation: mean and std `[C]` of a model that has its own; `None` where they are not known.
    """
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:12] + ("" if normalisation is None else f"+{_digest_of_normalisation(*normalisation)}")


def digest_of_file(file: Path) -> str | None:
    """The digest of a checkpoint's weights in fp32, or `None` if the file does not say in which order they come."""
    try:
        with safe_open(ordinary(file), "np") as opened:
            header = opened.metadata() or {}
            names, spec = (json.loads(header.get(name, "null")) for name in (ORDER, "spec"))
            if not isinstance(names, list) or sorted(map(str, names)) != sorted(opened.keys()):
                return None
            normalisation = None if spec is None else (spec.get("mean"), spec.get("std"))
            return digest_of(((name, _in_fp32(opened.get_tensor(name))) for name in names), normalisation)
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError):  # bfloat16, which numpy lacks
        return None


def weights_beside(result: Path) -> Path | None:
    """The weights that a result's file stands beside: NAME.safetensors, a run's best ones, or a model folder's."""
    folder = result.parent
    ours = [folder / "best.safetensors", folder / "model.safetensors"] if result.name == "result.json" else []
    return next(filter(Path.is_file, [result.with_suffix(".safetensors"), *ours]), None)


def of_other_weights(file: Path, result: Result, digest: Callable[[Path], str | None] | None = None) -> str | None:
    """A sentence if a result is of other weights than those beside its file, else `None`.

    Args:
        digest: computes what `digest_of_file` cannot: the digest of a file of an earlier version.
    """
    beside = weights_beside(file)
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
    """Raise ValueError if a result, named by its file or its run's folder, is of other weights than those beside it."""
    file = path / "result.json" if path.is_dir() else path
    if file.exists() and (said := of_other_weights(file, Result.load(file), digest)):
        raise ValueError(said)


def _digest_of_normalisation(mean: Any, std: Any) -> str:
    """`None` is the identity of either, and equals zeros or ones."""
    means, stds = np.broadcast_arrays(np.float32(0 if mean is None else mean), np.float32(1 if std is None else std))
    identity = not means.any() and bool((stds == 1).all())
    return hashlib.sha256(b"" if identity else means.tobytes() + stds.tobytes()).hexdigest()[:8]


def _in_fp32(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float32) if np.issubdtype(tensor.dtype, np.floating) else tensor
