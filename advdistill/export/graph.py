"""Convert a network to an ONNX graph in fp32, and that graph to half precision or 8 bits."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .._internal.adapter import Logits, unwrapped
from .._internal.packages import require
from ..acceleration.folding import fold, fold_preserves_function, folds_of

__all__ = ["folded_copy", "half", "quantise", "quiet", "to_onnx"]

OPSET = 18
IMAGES, LOGITS = "images", "logits"
BATCH = 32  # images in a calibration batch; all their activations are held in memory


def to_onnx(network: nn.Module, shape: tuple[int, int, int]) -> Any:
    """Return a `ModelProto` in fp32, opset 18, normalisation and batch-norm inside.

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
    _clear_source_paths(model.graph)
    return model


def folded_copy(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy in eval mode, batch-norm folded into the convolutions before it if the outputs stay the same."""
    network = unwrapped(network)
    folds = folds_of(network)
    sound = folds if fold_preserves_function(network, folds, example) else {}
    folded = fold(network, sound)
    with torch.no_grad():
        folded = folded if isinstance(folded(example), torch.Tensor) else Logits(folded)
    return folded.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's overloads lack it


def half(model: Any) -> Any:
    """Return a copy with weights and arithmetic in fp16; images and logits stay float32, with a cast inside."""
    onnx = require("onnx", "An export", "export")
    tools = require("onnxruntime.transformers.float16", "An export", "export")
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with quiet():
        converted = tools.convert_float_to_float16(copied, keep_io_types=True)
    # the tool puts the cast of the images last, but ONNX requires nodes in the order of computation
    require("onnxruntime.transformers.onnx_model", "An export", "export").OnnxModel(converted).topological_sort()
    return converted


def quantise(model: Any, images: np.ndarray) -> Any:
    """Return an ONNX model in QDQ form, quantised by onnxruntime's own tool.

    Weights are int8 per channel, limited to 7 bits: with 8, processors without VNNI saturate, and one file would
    compute two different networks. Activations are uint8. The logits stay float32, since in 256 levels they would tie.

    Args:
        model: a `ModelProto` in fp32; it is not changed.
        images: calibration images `[N, C, H, W]`, float32 in [0, 1]; their least and largest activations set the
            scales.
    """
    onnx, tools = require("onnx", "An export", "export"), require("onnxruntime.quantization", "An export", "export")
    with tempfile.TemporaryDirectory() as folder, quiet():
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "quantised.onnx")
        onnx.save(model, plain)
        reader = _calibration_reader(tools.CalibrationDataReader, images)
        tools.quantize_static(
            plain, quantised, reader, per_channel=True, reduce_range=True,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )  # fmt: skip
        return onnx.load(quantised)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings and log lines of the export tools."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _clear_source_paths(graph: Any) -> None:
    """Remove the stack traces that the exporter writes into the file, with the paths of this machine."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _calibration_reader(base: Any, images: np.ndarray) -> Any:
    class Reader(base):  # type: ignore[misc]  # onnxruntime is imported only when it is needed
        """The reader from which the tool requests batches of images."""

        def __init__(self, batches: Iterator[np.ndarray]):
            self.batches = batches

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {IMAGES: batch}

    return Reader(images[start : start + BATCH] for start in range(0, len(images), BATCH))
