"""Save a model to one safetensors file, which is all that `load` needs to rebuild a model of the zoo."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from .._internal.adapter import state_of, unwrapped
from .._internal.files import write_atomic
from ..results.weights import ORDER
from .checkpoint import FORMAT
from .classifier import Classifier

__all__ = ["check_savable", "save", "serialise"]


def save(model: nn.Module, path: str | os.PathLike[str], extra: Mapping[str, str] | None = None) -> None:
    """Write a model to one safetensors file, which is all that `load` needs to rebuild a model of the zoo.

    The header holds `model.spec` as JSON, if the model has one, and `extra`. The file is written completely or not at
    all, even if the process dies meanwhile.

    Args:
        model: any module; its state dict is written, with the names it has without torch.compile. A tensor with two
            names is written under each, so that `load_state_dict` accepts the file like the model's own state dict.
        path: ends in .safetensors.
        extra: further entries of the header.

    Raises:
        ValueError: `path` does not end in .safetensors, or the state dict has values that are not plain tensors.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from advdistill import models
        >>> file = tempfile.mkdtemp() + "/model.safetensors"
        >>> models.save(models.create("convnet-2", num_classes=3, in_channels=1), file)
        >>> models.load(file).spec
        ModelSpec(name='convnet-2', num_classes=3, in_channels=1, mean=None, std=None)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Weights are saved as safetensors, not as {path.name!r}; "
                         f"write {path.with_suffix('.safetensors').name!r}.")
    data = serialise(model, extra or {})
    write_atomic(path, lambda temporary: temporary.write_bytes(data), size=len(data))


def serialise(model: nn.Module, extra: Mapping[str, str]) -> bytes:
    """Return the bytes that `save` writes. Raises ValueError if a safetensors file cannot hold the model."""
    check_savable(model)
    # copies, since safetensors refuses tensors that share memory
    weights = {
        key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in state_of(model).items()
    }
    header = {**extra, "format": FORMAT, ORDER: json.dumps([*weights])}
    if isinstance(inside := unwrapped(model), Classifier):
        header["spec"] = json.dumps(asdict(inside.spec))
    try:
        return safetensors.torch.save(weights, header)
    except Exception as error:  # raised by safetensors for a dtype that it does not support
        raise ValueError(f"{type(inside).__name__} cannot be saved as safetensors: {error!r}") from error


def check_savable(model: nn.Module) -> None:
    """Raise ValueError if a model's state dict has values that are not plain tensors."""
    for name, value in state_of(model).items():
        if not isinstance(value, Tensor):
            form = f"a {type(value).__name__}"
        elif nn.parameter.is_lazy(value):
            form = "a parameter without values: run the network once, on two images"
        elif value.layout is not torch.strided or value.is_quantized or value.is_meta:
            form = "a tensor that is sparse, quantised or without values"
        else:
            continue
        raise ValueError(
            f"{type(unwrapped(model)).__name__} cannot be saved: {name!r} of its state dict is {form}. Only plain "
            "tensors are saved; keep anything else in attributes."
        )
