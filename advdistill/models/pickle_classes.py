"""Names of the classes and functions in a pickle, and which of them checkpoints of plain tensors contain."""

import re

import torch

__all__ = ["ATTRIBUTES", "BYTES", "SAFE_CALLS", "TENSORS", "class_name", "is_safe", "numpy_scalar"]

SAFE_CALLS = {
    "collections.OrderedDict", "collections.Counter", "builtins.set", "builtins.complex", "torch.Size", "torch.device",
    "torch.serialization._get_layout", "torch.nn.parameter.Parameter",
}  # fmt: skip
KINDS = ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")
TENSORS = {f"torch._utils._rebuild_{kind}" for kind in KINDS}
BYTES = {"_codecs.encode", "builtins.bytearray"}
ATTRIBUTES = "torch._tensor._rebuild_from_type_v2"  # a tensor with attributes; called with a function of `TENSORS`
OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def class_name(module: object, name: object) -> str:
    return f"{OLD_NAMES.get(str(module), module)}.{name}"


def numpy_scalar(code: str) -> str:
    """Return the scalar class of a dtype code, such as `numpy.float64` for `f8`."""
    name = re.fullmatch(r"([iufc])([1248]|16)", code)
    words = {"i": "int", "u": "uint", "f": "float", "c": "complex"}
    return f"numpy.{words[name[1]]}{8 * int(name[2])}" if name else "numpy.bool" if code == "b1" else "numpy.generic"


def is_safe(name: str, called: bool, first: object = None) -> bool:
    """Whether checkpoints of plain tensors contain this class or, if `called`, what it returns for argument `first`."""
    if not called:
        return bool(
            re.fullmatch(r"torch\.(\w+Storage|storage\.(Unt|T)ypedStorage|Tensor|nn\.parameter\.Parameter)", name)
            or isinstance(getattr(torch, name.removeprefix("torch."), None), torch.dtype)
            or name in SAFE_CALLS | TENSORS | BYTES
        )
    if name == ATTRIBUTES:
        return first in TENSORS
    return name in SAFE_CALLS | TENSORS | BYTES
