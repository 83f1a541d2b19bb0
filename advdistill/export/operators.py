"""The ONNX operators of exported networks in torch: attributes and inputs to one output; rounding passes gradients."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["OPERATORS"]

Attributes = dict[str, Any]
FLOAT16 = 10  # of ONNX's TensorProto
LEVELS = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


class _Passing(torch.autograd.Function):
    """A function whose gradient is taken for that of the identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        return change(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def quantize(attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Whole numbers, kept as floats."""
    levels = _Passing.apply(x / _aligned(scale, x, attributes), torch.round)
    return (levels + _aligned(zero, x, attributes)).clamp(*LEVELS[zero.dtype])


def dequantize(attributes: Attributes, q: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    shift = 0 if zero is None else _aligned(zero, q, attributes)
    return (q.float() - shift) * _aligned(scale, q, attributes)


def _aligned(value: Tensor, x: Tensor, attributes: Attributes) -> Tensor:
    """One value, or one for each place along an axis."""
    if value.numel() == 1:
        return value.reshape(()).float()
    axis = attributes.get("axis", 1) % x.ndim
    return value.float().view([-1 if place == axis else 1 for place in range(x.ndim)])


def cast(attributes: Attributes, x: Tensor) -> Tensor:
    return _Passing.apply(x, lambda v: v.half().float()) if attributes["to"] == FLOAT16 else x


def convolve(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dimensions = weight.ndim - 2
    pads = list(attributes.get("pads", [0] * 2 * dimensions))
    # ONNX has all beginnings, then all ends; torch the last dimension's pair first
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
