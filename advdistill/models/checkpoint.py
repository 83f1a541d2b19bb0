"""Weights on disk: our safetensors files written, any file read."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from .._internal.files import write_atomic
from .._internal.reading import ordinary, printable
from . import torch_file
from .classifier import Classifier
from .hub import find
from .reference import checkpoint_at, parse
from .state_dict import strip, unwrap

FORMAT = "advdistill"


@dataclass(frozen=True)
class Checkpoint:
    """A network's tensors, and what the file says of it: `arch`, `mean`, `std`, classes and channels where known."""

    weights: dict[str, Tensor]
    known: dict[str, Any]
    sizes: tuple[int, int] | None = None


class Spec(TypedDict):
    """`ModelSpec` as the header has it."""

    name: str
    num_classes: int
    in_channels: int
    mean: list[float] | None
    std: list[float] | None


def save(model: nn.Module, path: str | os.PathLike[str], extra: Mapping[str, str] | None = None) -> None:
    """Write a model to one safetensors file, from which `load` rebuilds a model of the zoo unaided.

    The header holds `model.spec` as JSON, if it has one, and `extra`. The file appears whole or not at all,
    even if the process dies on the way.

    Raises ValueError if `path` does not end in .safetensors, OSError if it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Weights are saved as safetensors, not as {path.name!r}; "
                         f"write {path.with_suffix('.safetensors').name!r}.")
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    header = {**(extra or {}), "format": FORMAT}
    if isinstance(model, Classifier):
        header["spec"] = json.dumps(asdict(model.spec))
    data = safetensors.torch.save(weights, header)
    write_atomic(path, lambda temporary: temporary.write_bytes(data), size=len(data))


def provenance(path: str | os.PathLike[str]) -> dict[str, str]:
    """What the header of one of our files says beyond the network, such as `chosen`; of other models, nothing."""
    file = _file(os.fspath(path))
    if file is None or file.suffix != ".safetensors":
        return {}
    header = _read_header(file)
    return {name: header[name] for name in header.keys() - {"spec", "format"}} if header.get("format") == FORMAT else {}


def _file(reference: str) -> Path | None:
    parsed = parse(reference)
    if parsed.kind == "hf":
        return find(parsed.name, parsed.options.get("file"), parsed.options.get("revision"))
    return checkpoint_at(parsed.name) if parsed.kind == "file" else None


def read(path: Path) -> Checkpoint:
    """Read a .safetensors file or anything `torch.load` reads without running code.

    Raises ValueError if it is damaged, could run code, or holds no weights.
    """
    loaded: object
    if path.suffix == ".safetensors":
        loaded, header = _read_safetensors(path)
        if "spec" in header and header.get("format") == FORMAT:
            spec = _spec(header["spec"], path)
            sizes = spec["num_classes"], spec["in_channels"]
            return Checkpoint(loaded, {"arch": spec["name"], "mean": spec["mean"], "std": spec["std"]}, sizes)
    else:
        loaded = _read_torch(path)
    try:
        found = unwrap(loaded)
        checkpoint = Checkpoint(*strip(found))
    except ValueError as error:
        raise ValueError(f"{path} {error}; give a file with a network's state dict.") from None
    torch_file.check_tensors(found.values(), path.stat().st_size, str(path))
    return checkpoint


def _spec(text: str, path: Path) -> Spec:
    try:
        values = check_type(json.loads(text), dict)
        known = {name: values[name] for name in Spec.__annotations__}
        return check_type(known, Spec, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except (ValueError, KeyError, RecursionError, TypeCheckError) as error:
        raise ValueError(f"{path} does not say which network it holds ({printable(error)}); save it anew.") from None


def _read_header(path: Path) -> dict[str, str]:
    try:
        with safe_open(ordinary(path), "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}); copy it anew.") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(ordinary(path), "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, _read_header(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}); copy it anew.") from error


def _read_torch(path: Path) -> object:
    with ordinary(path).open("rb") as file:
        return torch_file.load(file, str(path))
