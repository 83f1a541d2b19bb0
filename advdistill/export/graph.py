"""A network as an ONNX graph: in fp32, and from that in half precision."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .._internal.optional import require
from ..acceleration.folding import fold, fold_preserves_function, folds_of

__all__ = ["IMAGES", "folded_copy", "half", "quiet", "to_onnx"]

OPSET = 18
IMAGES, LOGITS = "images", "logits"


def to_onnx(network: nn.Module, shape: tuple[int, int, int]) -> Any:
    """A `ModelProto` of fp32, opset 18, normalisation and batch-norm inside.

    Its input is `images`, float32 `[batch, C, H, W]` in [0, 1]; its output `logits`, float32 `[batch, K]`.
    """
    require("onnxscript", "An export", "export")
    example = torch.rand(2, *shape)
    folded = folded_copy(network, example)
    with quiet():
        program: Any = torch.onnx.export(
            folded, (example,), input_names=[IMAGES], output_names=[LOGITS], opset_version=OPSET, dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        )  # fmt: skip
    model = program.model_proto
    _forget_where(model.graph)
    return model


def folded_copy(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """In eval mode, batch-norm folded into the convolutions before it, where that leaves the function as it is."""
    folds = folds_of(network)
    sound = folds if fold_preserves_function(network, folds, example) else {}
    return fold(network, sound).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # it is in no overload of torch's


def half(model: Any) -> Any:
    """A copy whose weights and arithmetic are fp16; images and logits stay float32, with a cast inside."""
    onnx = require("onnx", "An export", "export")
    tools = require("onnxruntime.transformers.float16", "An export", "export")
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with quiet():
        converted = tools.convert_float_to_float16(copied, keep_io_types=True)
    # the tool puts the cast of the images last, where ONNX asks for the order of computation
    require("onnxruntime.transformers.onnx_model", "An export", "export").OnnxModel(converted).topological_sort()
    return converted


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that the tools give to authors of other pipelines."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _forget_where(graph: Any) -> None:
    """The exporter writes stack traces into the file, with the paths of this machine."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
