"""Static quantisation: 8-bit weights by channel, 8-bit activations on scales read off calibration images."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._internal.optional import require
from .graph import IMAGES, quiet

__all__ = ["quantise"]

BATCH = 32  # images that calibration sees at once; it keeps every activation of theirs


def quantise(model: Any, images: np.ndarray) -> Any:
    """An ONNX model in QDQ form, as onnxruntime's own tool makes it.

    Weights are int8 by channel in 7 bits: with 8, processors without VNNI saturate, and one file would be two
    networks. Activations are uint8. The logits stay float32, since in 256 levels they would tie.

    Args:
        model: a `ModelProto` in fp32; it stays as it is.
        images: calibration images `[N, C, H, W]`, float32 in [0, 1], which set the scales by their least and largest
            activations.
    """
    onnx, tools = require("onnx", "An export", "export"), require("onnxruntime.quantization", "An export", "export")
    with tempfile.TemporaryDirectory() as folder, quiet():
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "quantised.onnx")
        onnx.save(model, plain)
        tools.quantize_static(
            plain, quantised, _reader(tools.CalibrationDataReader, images), per_channel=True, reduce_range=True,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )  # fmt: skip
        return onnx.load(quantised)


def _reader(base: Any, images: np.ndarray) -> Any:
    class Reader(base):  # type: ignore[misc]  # onnxruntime is imported only when it is needed
        """What the tool asks for batches of images."""

        def __init__(self, batches: Iterator[np.ndarray]):
            self.batches = batches

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {IMAGES: batch}

    return Reader(images[start : start + BATCH] for start in range(0, len(images), BATCH))
