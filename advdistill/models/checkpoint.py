"""Read checkpoints, our own safetensors files and those of others; no file is trusted.

No code runs, and no tensor is larger than its file. A network's state dict is found below the usual keys and prefixes.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from safetensors import SafetensorError, safe_open
from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from .._internal.reading import ordinary, printable
from ..results.weights import ORDER
from .file_kinds import PICKLE, ZIP, check_kind, is_safetensors
from .reference import checkpoint_at, hugging_face_file, parse
from .state_dict import NoNetwork, strip, unwrap
from .torch_file import check_tensors, load_torch

__all__ = ["FORMAT", "Checkpoint", "check_tensors", "load_torch", "provenance", "read_checkpoint"]

FORMAT = "advdistill"


@dataclass(frozen=True)
class Checkpoint:
    """A network's tensors, and what the file says about it: `arch`, `mean`, `std`, and `sizes` (classes, channels)."""

    weights: dict[str, Tensor]
    known: dict[str, Any]
    sizes: tuple[int, int] | None = None


class Spec(TypedDict):
    """`ModelSpec` as stored in the header."""

    name: str
    num_classes: int
    in_channels: int
    mean: list[float] | None
    std: list[float] | None


def provenance(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return what the header of one of our files says besides the network, such as `chosen`; for other models, `{}`."""
    file = _file_of_reference(os.fspath(path))
    if file is None or file.suffix != ".safetensors":
        return {}
    with _opened_safetensors(file) as opened:
        header = opened.metadata() or {}
    if header.get("format") != FORMAT:
        return {}
    return {name: header[name] for name in header.keys() - {"spec", "format", ORDER}}


def _file_of_reference(reference: str) -> Path | None:
    parsed = parse(reference)
    if parsed.kind == "hf":
        return hugging_face_file(parsed.name, parsed.options.get("file"), parsed.options.get("revision"))
    return checkpoint_at(parsed.name) if parsed.kind == "file" else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read safetensors, or anything that `torch.load` reads without running code, whatever the file's name.

    Raises ValueError if the file is of another kind, is damaged, could run code, or holds no weights.
    """
    loaded: object
    if _is_safetensors(path):
        with _opened_safetensors(path) as file:
            loaded, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
        if "spec" in header and header.get("format") == FORMAT:
            spec = _read_spec(header["spec"], path)
            sizes = spec["num_classes"], spec["in_channels"]
            return Checkpoint(loaded, {"arch": spec["name"], "mean": spec["mean"], "std": spec["std"]}, sizes)
    else:
        with path.open("rb") as stream:
            loaded = load_torch(stream, str(path))
    try:
        found = unwrap(loaded)
        check_tensors(found.values(), path.stat().st_size, str(path))
        return Checkpoint(*strip(found))
    except NoNetwork as error:
        raise ValueError(f"{path} {error}; give a file with a network's state dict.") from None


def _is_safetensors(path: Path) -> bool:
    """Decide by the content, or by the name if the content is unclear. Raises ValueError for a file of another kind."""
    with ordinary(path).open("rb") as stream:
        if is_safetensors(stream.read(16), path.stat().st_size):
            return True
        check_kind(stream, str(path))
        return path.suffix == ".safetensors" and not stream.read(4).startswith((ZIP, PICKLE))


def _read_spec(text: str, path: Path) -> Spec:
    try:
        values = check_type(json.loads(text), dict)
        known = {name: values[name] for name in Spec.__annotations__}
        return check_type(known, Spec, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except (ValueError, KeyError, RecursionError, TypeCheckError) as error:
        raise ValueError(f"{path} does not say which network it holds ({printable(error)}); save it anew.") from None


@contextmanager
def _opened_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(ordinary(path), "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}); copy it anew.") from error
