"""Weights on disk: our safetensors files written, any file read, none of them trusted.

No code runs, and no tensor is larger than its file. A network's state dict is found below the usual keys and prefixes.
"""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from .._internal.reading import ordinary, printable
from ..results.weights import ORDER
from .reference import checkpoint_at, hugging_face_file, parse

__all__ = ["FORMAT", "Checkpoint", "check_tensors", "load_torch", "provenance", "read_checkpoint"]

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


def provenance(path: str | os.PathLike[str]) -> dict[str, str]:
    """What the header of one of our files says beyond the network, such as `chosen`; of other models, nothing."""
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
    """Read a .safetensors file or anything `torch.load` reads without running code.

    Raises ValueError if it is damaged, could run code, or holds no weights.
    """
    loaded: object
    if path.suffix == ".safetensors":
        with _opened_safetensors(path) as file:
            loaded, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
        if "spec" in header and header.get("format") == FORMAT:
            spec = _read_spec(header["spec"], path)
            sizes = spec["num_classes"], spec["in_channels"]
            return Checkpoint(loaded, {"arch": spec["name"], "mean": spec["mean"], "std": spec["std"]}, sizes)
    else:
        with ordinary(path).open("rb") as stream:
            loaded = load_torch(stream, str(path))
    try:
        found = _unwrap(loaded)
        checkpoint = Checkpoint(*_strip(found))
    except ValueError as error:
        raise ValueError(f"{path} {error}; give a file with a network's state dict.") from None
    check_tensors(found.values(), path.stat().st_size, str(path))
    return checkpoint


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


NESTS = ("state_dict", "net", "model", "model_state_dict")
DEEPEST = 10  # wrappers around wrappers
MOST_CHANNELS = 1000  
PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "1.")  # the last: nn.Sequential(normaliser, network)
NORMALISERS = (("mean", "std"), ("mu", "sigma"), ("normalize.mean", "normalize.std"), ("0.mean", "0.std"))


def _unwrap(loaded: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint, also from below `state_dict`, `net`, `model` or `model_state_dict`.

    Raises ValueError if there are none.
    """
    if not isinstance(loaded, Mapping):
        raise ValueError(f"holds a {type(loaded).__name__}, not a state dict")
    found: Mapping[Any, Any] = loaded
    for _ in range(DEEPEST):  # a dictionary may lie in itself
        nested = next((found[nest] for nest in NESTS if isinstance(found.get(nest), Mapping)), None)
        if nested is None:
            break
        found = nested
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"holds no weights, only {printable(', '.join(map(str, found))) or 'an empty dictionary'}")
    return tensors


def _strip(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, tuple[float, ...]]]:
    """Take off wrappers (DDP, compile, a normalising module).

    Returns the network's own tensors, and the wrapper's `mean` and `std`, empty if there is none.
    """
    weights, statistics = dict(tensors), {}
    for _ in range(DEEPEST):
        for mean, std in NORMALISERS:
            if mean in weights and std in weights:
                statistics = {"mean": _channel_values(weights.pop(mean)), "std": _channel_values(weights.pop(std))}
        prefix = next((p for p in PREFIXES if weights and all(key.startswith(p) for key in weights)), None)
        if prefix is None:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights, statistics


def _channel_values(tensor: Tensor) -> tuple[float, ...]:
    if tensor.numel() > MOST_CHANNELS:
        raise ValueError(f"holds a mean or std of {tensor.numel():,} values")
    return tuple(tensor.flatten().tolist())


ZIP = b"PK\x03\x04"
SHARED = 4  # so many times the file's bytes may be shown by tensors that share their storage


def load_torch(file: BinaryIO, name: str) -> object:
    """The object in a file of `torch.save`.

    Raises ValueError if it is damaged, could run code, or unpacks to more than its size.
    """
    try:
        _check_unpacked_size(file)
        return torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name} is damaged or holds objects that could run code, so it was not opened; "
                         "where you trust it, save model.state_dict() alone.") from error
    # Damaged bytes surface as RuntimeError, OSError, EOFError, KeyError, struct.error and more.
    except Exception as error:
        raise ValueError(f"{name} is truncated or not a PyTorch checkpoint; copy it anew.") from error


def check_tensors(tensors: Iterable[Tensor], size: int, name: str) -> None:
    """Raise ValueError unless they are plain and lie in a file of `size` bytes: a shape alone may announce anything."""
    room = SHARED * size
    for tensor in tensors:
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ValueError(f"{name} holds a tensor that is sparse, quantised or without values; save plain ones.")
        shown = tensor.numel() * tensor.element_size()
        room -= shown
        if room < 0 or shown > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} announces tensors that its {size:,} bytes cannot hold; copy it anew.")


def _check_unpacked_size(file: BinaryIO) -> None:
    """`torch.save` never compresses: a zip that would unpack to more than it has is none of its files."""
    if file.read(len(ZIP)) == ZIP:
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError
    file.seek(0)
