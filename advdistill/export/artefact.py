"""A network in the form of a file, and such a file opened again."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from .. import models
from .._internal.messages import unknown
from .._internal.optional import require
from ..evaluation.verdicts import digest
from ..models.checkpoint import FORMAT
from .graph import folded_copy, half, quiet, to_onnx
from .int8 import quantise
from .opened import session, torch_program

__all__ = ["KINDS", "Artefact", "Kind", "build", "open_file"]

Pack = Callable[[dict[str, str]], bytes]
PREFIX = "advdistill."  # of our entries in an ONNX file's metadata


@dataclass(frozen=True)
class Kind:
    """A form of file.

    Args:
        ending: of the file's name, unless another is given.
        limit: the largest difference of two logits that is taken for the same network, in units of the largest logit.
        agreement: the least share of images that stay in their class.
    """

    ending: str
    limit: float = 1e-3
    agreement: float = 1.0

    @property
    def suffix(self) -> str:
        """What its name must end in."""
        return f".{self.ending.rpartition('.')[2]}"


KINDS = {
    "onnx": Kind(".onnx"),
    "onnx-fp16": Kind(".fp16.onnx", limit=0.05, agreement=0.98),
    "onnx-int8": Kind(".int8.onnx", limit=0.5, agreement=0.8),
    "safetensors": Kind(".safetensors", limit=0.0),
    "torch-export": Kind(".pt2"),
}


@dataclass(frozen=True, eq=False)
class Artefact:
    """What a file holds, before anything is written.

    Attributes:
        pack: the file's bytes, with given metadata.
        identity: twelve hex digits that name what it computes, whatever its metadata.
        graph: of an ONNX file, a `ModelProto`.
        plain: for an ONNX file in less than fp32, the bytes of the same in fp32.
    """

    kind: str
    pack: Pack
    identity: str
    graph: object = None
    plain: bytes | None = None


def build(kind: str, network: nn.Module, shape: tuple[int, int, int], images: Tensor) -> Artefact:
    """A network in eval mode, on the CPU, in the form `kind`.

    Args:
        kind: one of `KINDS`.
        shape: channels, height and width of an image.
        images: `[N, C, H, W]` in [0, 1]; int8 takes its scales from them.

    Raises:
        ValueError: an unknown kind.
        ImportError: a package is missing.
    """
    if kind not in KINDS:
        raise unknown("kind of file", kind, KINDS)
    if kind == "safetensors":
        return Artefact(kind, _safetensors(network), digest(network))
    if kind == "torch-export":
        return Artefact(kind, _program(network, shape), digest(network))
    plain = to_onnx(network, shape)
    match kind:
        case "onnx-fp16":
            graph = half(plain)
        case "onnx-int8":
            graph = quantise(plain, images.numpy())
        case _:
            graph = plain
    identity = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:12]
    float_file = None if graph is plain else plain.SerializeToString()
    return Artefact(kind, lambda known: _onnx(graph, known), identity, graph, float_file)


def open_file(kind: str, path: Path) -> nn.Module:
    """What a file that this package has written computes: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`."""
    if kind == "safetensors":
        return models.load(path)
    return torch_program(path) if kind == "torch-export" else session(path)


def _safetensors(network: nn.Module) -> Pack:
    """As `models.save` writes it: with `spec`, normalisation is rebuilt inside the model."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return lambda known: safetensors.torch.save(weights, _described(network) | known)


def _described(network: nn.Module) -> dict[str, str]:
    spec = getattr(network, "spec", None)
    return {"format": FORMAT} | ({"spec": json.dumps(asdict(spec))} if spec else {})


def _program(network: nn.Module, shape: tuple[int, int, int]) -> Pack:
    batch = torch.export.Dim("batch")
    with quiet():
        example = torch.rand(2, *shape)
        program = torch.export.export(folded_copy(network, example), (example,), dynamic_shapes=({0: batch},))

    def pack(known: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={"advdistill.json": json.dumps(known)})
        return buffer.getvalue()

    return pack


def _onnx(graph: Any, known: dict[str, str]) -> bytes:
    onnx = require("onnx", "An export", "export")
    described = onnx.ModelProto()
    described.CopyFrom(graph)
    onnx.helper.set_model_props(described, {PREFIX + name: value for name, value in known.items()})
    return described.SerializeToString(deterministic=True)
