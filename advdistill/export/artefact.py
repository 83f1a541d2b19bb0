"""Build the file of a network, compare it with the network, write it, and open it again."""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import models
from .._internal.adapter import check_module, logits_of, unwrapped
from .._internal.checks import trial
from .._internal.files import write_atomic
from .._internal.messages import first_line, unknown
from .._internal.packages import require
from ..models.digest import digest
from ..models.saving import serialise
from .graph import folded_copy, half, quantise, quiet, to_onnx
from .runtime import session, torch_program

__all__ = ["KINDS", "Artefact", "Kind", "Parity", "build", "compare_logits", "open_file", "write"]

Pack = Callable[[dict[str, str]], bytes]
PREFIX = "advdistill."  # of our entries in an ONNX file's metadata
TIE = 1e-5  # in units of the largest logit: if the two largest are this close, rounding decides their order


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        ending: default ending of the file's name.
        limit: the largest difference between logits that counts as the same network, in units of the largest logit.
        agreement: the least share of images that must keep their class.
    """

    ending: str
    limit: float = 1e-3
    agreement: float = 1.0

    @property
    def suffix(self) -> str:
        """The suffix that the file's name must have."""
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
    """The content of a file, before anything is written.

    Attributes:
        pack: returns the file's bytes, with the given metadata.
        identity: twelve hex digits that identify what the file computes, whatever its metadata.
        graph: the `ModelProto` of an ONNX file.
        plain: for an ONNX file in less than fp32, the bytes of the same graph in fp32.
    """

    kind: str
    pack: Pack
    identity: str
    graph: object = None
    plain: bytes | None = None


def build(kind: str, network: nn.Module, shape: tuple[int, int, int], images: Tensor) -> Artefact:
    """Convert a network in eval mode, on the CPU, to a file of the given kind.

    Args:
        kind: one of `KINDS`.
        shape: channels, height and width of an image.
        images: `[N, C, H, W]` in [0, 1]; used to calibrate the scales of int8.

    Raises:
        ValueError: the kind is unknown, or torch cannot export the network.
        ImportError: a package is missing.
    """
    if kind not in KINDS:
        raise unknown("kind of file", kind, KINDS)
    check_module("exported network", network)
    if kind == "safetensors":
        return Artefact(kind, partial(serialise, network), digest(network))
    trial("exported network", network, torch.rand(2, *shape))
    try:
        if kind == "torch-export":
            return Artefact(kind, _pack_program(network, shape), digest(network))
        plain = to_onnx(network, shape)
    except ImportError:
        raise
    except Exception as error:  # whatever torch.export raises for a forward
        name = type(unwrapped(network)).__name__
        raise ValueError(
            f"{name} cannot be exported as {kind}: {first_line(error)}. Export the float network whose forward has no "
            "branch on values; the kind onnx-int8 quantises it."
        ) from error
    match kind:
        case "onnx-fp16":
            graph = half(plain)
        case "onnx-int8":
            graph = quantise(plain, images.numpy())
        case _:
            graph = plain
    identity = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:12]
    float_file = None if graph is plain else plain.SerializeToString()
    return Artefact(kind, lambda known: _onnx_bytes(graph, known), identity, graph, float_file)


def open_file(kind: str, path: Path) -> nn.Module:
    """Open a file that this package has written, as a module: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`."""
    if kind == "safetensors":
        return models.load(path)
    return torch_program(path) if kind == "torch-export" else session(path)


@dataclass(frozen=True)
class Parity:
    """How the logits of two networks differ on `n` images.

    Attributes:
        largest: the largest difference between two logits.
        relative: the same, in units of the largest logit.
        agree: images that both put into the same class.
        ties: images on which the classes differ, but the first network's two largest logits tie.
    """

    n: int
    largest: float
    relative: float
    agree: int
    ties: int

    @property
    def changed(self) -> int:
        """The number of images whose class differs by more than rounding."""
        return self.n - self.agree - self.ties

    def __str__(self) -> str:
        return (
            f"largest |Δlogit| {self.largest:.2g} ({self.relative:.1e} of the largest logit), "
            f"the same class on {self.agree} of {self.n} images"
        )

    def check(self, what: str, limit: float, agreement: float) -> None:
        """Raise ValueError if logits differ by more than `limit`, or classes on more than `1 - agreement` of images."""
        if not self.relative <= limit or self.changed > (1 - agreement) * self.n:
            raise ValueError(
                f"{what}: {self}. Expected at most {limit:g} of the largest logit, and the same class on "
                f"{agreement:.0%} of the images."
            )


@torch.no_grad()
def compare_logits(network: nn.Module, other: nn.Module, images: Tensor, batch_size: int = 64) -> Parity:
    """Compare two networks in eval mode on images `[N, C, H, W]` in [0, 1]."""
    batches = images.split(batch_size)
    expected, found = (torch.cat([logits_of(net(x)) for x in batches]).double() for net in (network, other))
    scale, largest = expected.abs().max().item(), (found - expected).abs().max().item()
    differ = expected.argmax(1) != found.argmax(1)
    best, second = expected.topk(2).values.T
    ties = int((differ & (best - second <= TIE * scale)).sum())
    return Parity(len(images), largest, largest / scale, int((~differ).sum()), ties)


def write(artefact: Artefact, known: dict[str, str], path: Path, network: nn.Module, images: Tensor) -> Parity:
    """Write an artefact with metadata, after opening its bytes as a file and comparing that with the network.

    Args:
        known: metadata by name.
        network: the network that the artefact was made from, in eval mode.
        images: `[N, C, H, W]` in [0, 1].

    Raises:
        ValueError: the file would not compute what the network does; nothing was written.
    """
    kind, content = KINDS[artefact.kind], artefact.pack(known)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, f"trial{kind.ending}")
        trial.write_bytes(content)
        parity = compare_logits(network, open_file(artefact.kind, trial), images)
    what = f"{path.name} would not compute what its network does, and was not written"
    parity.check(what, kind.limit, kind.agreement)
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    return parity


def _pack_program(network: nn.Module, shape: tuple[int, int, int]) -> Pack:
    batch = torch.export.Dim("batch")
    with quiet():
        example = torch.rand(2, *shape)
        program = torch.export.export(folded_copy(network, example), (example,), dynamic_shapes=({0: batch},))

    def pack(known: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={"advdistill.json": json.dumps(known)})
        return buffer.getvalue()

    return pack


def _onnx_bytes(graph: Any, known: dict[str, str]) -> bytes:
    onnx = require("onnx", "An export", "export")
    described = onnx.ModelProto()
    described.CopyFrom(graph)
    onnx.helper.set_model_props(described, {PREFIX + name: value for name, value in known.items()})
    return described.SerializeToString(deterministic=True)
