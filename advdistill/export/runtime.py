"""Files as modules, run by onnxruntime or torch; and an ONNX graph run by torch, with gradients to the images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._internal.packages import require

__all__ = ["OPERATORS", "Opened", "Twin", "session", "torch_program"]

Attributes = dict[str, Any]
FLOAT16 = 10  # the value of ONNX's TensorProto.FLOAT16
LEVELS = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


class Opened(nn.Module):
    """An open file: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`, on the CPU whatever the images' device.

    `copy.deepcopy` returns the same object: evaluation copies a model, but must evaluate the file itself.
    """

    def __init__(self, run: Callable[[Tensor], Tensor]):
        super().__init__()
        self.run = run

    def __deepcopy__(self, memo: dict[int, object]) -> "Opened":
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x.cpu()).to(x.device)


def session(file: Path | bytes, threads: int | None = None) -> Opened:
    """Open an ONNX file in onnxruntime on the CPU; the logits have no gradient.

    Args:
        threads: `None` for as many as torch uses.
    """
    runtime = require("onnxruntime", "An export", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or torch.get_num_threads(), 3
    given = file if isinstance(file, bytes) else str(file)
    opened = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    (images,), (logits,) = opened.get_inputs(), opened.get_outputs()
    return Opened(
        lambda x: torch.from_numpy(opened.run([logits.name], {images.name: x.detach().contiguous().numpy()})[0])
    )


def torch_program(file: Path) -> Opened:
    """Open a file of torch.export that this package has written itself."""
    program = torch.export.load(file).module()
    return Opened(lambda x: program(x))  # not a submodule, because an exported program has no eval mode


class Twin(nn.Module):
    """A differentiable twin of an ONNX file: the file's graph run by torch, so that attacks can use its gradients.

    Images `[B, C, H, W]` in [0, 1] to logits `[B, K]` as the file computes them, with gradients to the images.

    Weights, scales and zero points are the file's. Rounding passes gradients through unchanged and clipping stops
    them, as in Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, arXiv:1308.3432, and in
    the attacks of Athalye et al., ICML 2018, on networks without gradients.

    Args:
        model: a `ModelProto` from `build`.

    Raises:
        ValueError: the file has an operator that the twin does not support.
    """

    def __init__(self, model: Any):
        super().__init__()
        helper = require("onnx.helper", "An export", "export")
        self.images, self.logits = model.graph.input[0].name, model.graph.output[0].name
        known = {tensor.name: _initializer_tensor(tensor) for tensor in model.graph.initializer}
        self.steps = []
        for node in model.graph.node:
            if node.op_type not in OPERATORS:
                known_types = ", ".join(sorted(OPERATORS))
                raise ValueError(f"The twin of an ONNX file knows no operator {node.op_type}; it knows {known_types}.")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            step = (node.op_type, attributes, list(node.input), node.output[0])
            if all(name in known for name in node.input):
                known[node.output[0]] = _run_node(step, known)
            else:
                self.steps.append(step)
        used = {name for *_, inputs, _ in self.steps for name in inputs if name in known}
        self.constants = {name: f"constant_{place}" for place, name in enumerate(sorted(used))}
        for name, buffer in self.constants.items():
            self.register_buffer(buffer, known[name])

    def forward(self, x: Tensor) -> Tensor:
        values = {name: getattr(self, buffer) for name, buffer in self.constants.items()} | {self.images: x}
        for step in self.steps:
            values[step[-1]] = _run_node(step, values)
        return values[self.logits]


def _run_node(step: tuple[str, dict[str, Any], list[str], str], values: dict[str, Tensor]) -> Tensor:
    kind, attributes, inputs, _ = step
    return OPERATORS[kind](attributes, *(values[name] if name else None for name in inputs))


def _initializer_tensor(initializer: Any) -> Tensor:
    """Return fp16 values as fp32: onnxruntime, too, computes in fp32 on a processor without fp16 arithmetic."""
    tensor = torch.from_numpy(require("onnx.numpy_helper", "An export", "export").to_array(initializer).copy())
    return tensor.float() if tensor.dtype == torch.float16 else tensor


class _StraightThrough(torch.autograd.Function):
    """A function whose gradient is replaced by the identity's: the straight-through estimator."""

    @staticmethod
    def forward(ctx: object, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        return change(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def quantize(attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Quantise to integer levels, in a float tensor."""
    levels = _StraightThrough.apply(x / _aligned(scale, x, attributes), torch.round)
    return (levels + _aligned(zero, x, attributes)).clamp(*LEVELS[zero.dtype])


def dequantize(attributes: Attributes, q: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    shift = 0 if zero is None else _aligned(zero, q, attributes)
    return (q.float() - shift) * _aligned(scale, q, attributes)


def _aligned(value: Tensor, x: Tensor, attributes: Attributes) -> Tensor:
    """Reshape one value, or one for each index of an axis of `x`, to broadcast over `x`."""
    if value.numel() == 1:
        return value.reshape(()).float()
    axis = attributes.get("axis", 1) % x.ndim
    return value.float().view([-1 if place == axis else 1 for place in range(x.ndim)])


def cast(attributes: Attributes, x: Tensor) -> Tensor:
    return _StraightThrough.apply(x, lambda v: v.half().float()) if attributes["to"] == FLOAT16 else x


def convolve(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dimensions = weight.ndim - 2
    pads = list(attributes.get("pads", [0] * 2 * dimensions))
    # ONNX lists all beginnings, then all ends; torch lists pairs, that of the last dimension first
    pairs = [size for place in reversed(range(dimensions)) for size in (pads[place], pads[place + dimensions])]
    stride, dilation = (attributes.get(name, [1] * dimensions) for name in ("strides", "dilations"))
    return F.conv2d(F.pad(x, pairs), weight, bias, stride, 0, dilation, attributes.get("group", 1))


def gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def normalise(
    attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return F.batch_norm(x, mean, variance, weight, bias, eps=attributes.get("epsilon", 1e-5))


def average(attributes: Attributes, x: Tensor) -> Tensor:
    if any(attributes.get("pads", ())):
        raise ValueError("The twin of an ONNX file knows average pooling without padding only.")
    return F.avg_pool2d(x, attributes["kernel_shape"], attributes.get("strides", [1, 1]))


def mean(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    return x.mean(axes.tolist(), keepdim=bool(attributes.get("keepdims", 1)))


def clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(low, high)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda attributes, a, b: a + b,
    "AveragePool": average,
    "BatchNormalization": normalise,
    "Cast": cast,
    "Clip": clip,
    "Conv": convolve,
    "DequantizeLinear": dequantize,
    "Div": lambda attributes, a, b: a / b,
    "Flatten": lambda attributes, x: x.flatten(attributes.get("axis", 1)),
    "Gemm": gemm,
    "GlobalAveragePool": lambda attributes, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda attributes, x: x,
    "MatMul": lambda attributes, a, b: a @ b,
    "Mul": lambda attributes, a, b: a * b,
    "QuantizeLinear": quantize,
    "ReduceMean": mean,
    "Relu": lambda attributes, x: x.relu(),
    "Reshape": lambda attributes, x, shape: x.reshape(shape.tolist()),
    "Sigmoid": lambda attributes, x: x.sigmoid(),
    "Sub": lambda attributes, a, b: a - b,
}
