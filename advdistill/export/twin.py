"""A differentiable twin of an ONNX file: the file's own graph, run by torch, so that an attack can climb it."""

from typing import Any

import torch
from torch import Tensor, nn

from .._internal.optional import require
from .operators import OPERATORS

__all__ = ["Twin"]


class Twin(nn.Module):
    """Images `[B, C, H, W]` to logits `[B, K]` as the file computes them, with gradients to the images.

    Weights, scales and zero points are the file's. Rounding passes gradients through as if it were not there, and
    clipping stops them, as Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons,
    arXiv:1308.3432, and as Athalye et al., ICML 2018, attack what has no gradient.

    Args:
        model: a `ModelProto` that `build` made.

    Raises:
        ValueError: the file has an operator that the twin does not know.
    """

    def __init__(self, model: Any):
        super().__init__()
        helper = require("onnx.helper", "An export", "export")
        self.images, self.logits = model.graph.input[0].name, model.graph.output[0].name
        known = {tensor.name: _tensor(tensor) for tensor in model.graph.initializer}
        self.steps = []
        for node in model.graph.node:
            if node.op_type not in OPERATORS:
                raise ValueError(f"The twin of an ONNX file knows no operator {node.op_type}; it knows {_names()}.")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            step = (node.op_type, attributes, list(node.input), node.output[0])
            if all(name in known for name in node.input):
                known[node.output[0]] = _run(step, known)
            else:
                self.steps.append(step)
        used = {name for *_, inputs, _ in self.steps for name in inputs if name in known}
        self.constants = {name: f"constant_{place}" for place, name in enumerate(sorted(used))}
        for name, buffer in self.constants.items():
            self.register_buffer(buffer, known[name])

    def forward(self, x: Tensor) -> Tensor:
        values = {name: getattr(self, buffer) for name, buffer in self.constants.items()} | {self.images: x}
        for step in self.steps:
            values[step[-1]] = _run(step, values)
        return values[self.logits]


def _run(step: tuple[str, dict[str, Any], list[str], str], values: dict[str, Tensor]) -> Tensor:
    kind, attributes, inputs, _ = step
    return OPERATORS[kind](attributes, *(values[name] if name else None for name in inputs))


def _tensor(initializer: Any) -> Tensor:
    """Halves as floats: onnxruntime, too, computes with them so where a processor has no halves."""
    tensor = torch.from_numpy(require("onnx.numpy_helper", "An export", "export").to_array(initializer).copy())
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _names() -> str:
    return ", ".join(sorted(OPERATORS))
