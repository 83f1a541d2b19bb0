"""Networks from outside the zoo: a user's own function or class, and timm."""

import inspect
import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .._internal.imports import import_object
from .._internal.messages import check_hugging_face, first_line, unknown
from .._internal.packages import require
from .checkpoint import read_checkpoint
from .classifier import Classifier, ModelSpec
from .reference import checkpoint_at
from .state_dict import check_types

__all__ = ["PREFIX", "Normalised", "TimmStudent", "from_python", "from_timm"]

class Normalised(nn.Module):
    """Any network with (x - mean) / std before it, so that it accepts images `[B, C, H, W]` in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Iterable[float] | None, std: Iterable[float] | None):
        super().__init__()
        self.network = network
        for name, values in (("mean", mean or (0.0,)), ("std", std or (1.0,))):
            self.register_buffer(name, torch.tensor(tuple(values)).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std)


def from_python(name: str, options: dict[str, Any]) -> nn.Module:
    """Return the network made by the callable `name`, e.g. `my_module:my_function` or `path/to/file.py:MyNetwork`.

    The option `checkpoint` names a file with the network's weights, or the directory of the run that trained it;
    `mean` and `std` add a normalisation.

    Raises ValueError if importing the callable fails or is forbidden, if the callable returns no module, or if the
    network does not fit the checkpoint.
    """
    make = import_object(name)
    if isinstance(make, nn.Module) or not callable(make) or _wants_arguments(make):
        raise ValueError(f"python:{name} must be a function or class that is called without arguments and returns "
                         "a torch.nn.Module.")
    network = make()
    if not isinstance(network, nn.Module):
        raise ValueError(f"python:{name} returned a {type(network).__name__}, not a torch.nn.Module.")
    if "checkpoint" in options:
        _fill(network, options["checkpoint"], f"python:{name}")
    statistics = {key: options[key] for key in ("mean", "std") if key in options}
    return Normalised(network, statistics.get("mean"), statistics.get("std")) if statistics else network


def _fill(network: nn.Module, checkpoint: str, reference: str) -> None:
    """Load weights whose names may have another prefix than the network's, such as that of a wrapper."""
    path = checkpoint_at(checkpoint)
    found, wanted = read_checkpoint(path).weights, network.state_dict()
    lead, own = _common_prefix(found), _common_prefix(wanted)
    named = {f"{own}{key.removeprefix(lead)}": tensor for key, tensor in found.items()}
    try:
        network.load_state_dict(found if found.keys() == wanted.keys() else named)
    except RuntimeError as error:
        lines = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise ValueError(f"{path} does not fit {reference}: {lines[:300]}") from error


def _common_prefix(keys: Iterable[str]) -> str:
    """Return the prefix that all names share, up to a dot."""
    head, dot, _ = os.path.commonprefix(list(keys)).rpartition(".")
    return head + dot


def from_timm(name: str, options: dict[str, Any]) -> nn.Module:
    """Return a model of timm, with the normalisation of its timm configuration inside.

    Raises ImportError without timm, ValueError for an unknown name or a checkpoint that does not fit, OSError if
    timm cannot get the weights.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise ValueError(f"Unknown timm model {name!r}; timm.list_models('*resnet*') shows those named like that.")
    checkpoint, pretrained = options.get("checkpoint"), options.get("pretrained", False)
    if bool(checkpoint) == pretrained:
        raise ValueError(f"timm:{name} needs one source of weights; choose timm's own with timm:{name}?pretrained=true "
                         f"or yours with timm:{name}?checkpoint=FILE.")
    classes = {key: options[key] for key in ("num_classes",) if key in options}
    network: Any = _create_timm(timm, name, pretrained, classes)
    known = {key: network.pretrained_cfg.get(key) for key in ("mean", "std")}
    if checkpoint:
        known |= _load_weights(network, checkpoint)
    known |= options
    return Normalised(network, known["mean"], known["std"])


def _load_weights(network: nn.Module, checkpoint: str) -> dict[str, Any]:
    """Load the weights; returns the file's `mean` and `std`, if it has them."""
    path = checkpoint_at(checkpoint)
    found = read_checkpoint(path)
    integers = [key for key, tensor in network.state_dict().items() if not tensor.is_floating_point()]
    check_types(found.weights, str(path), integers)
    try:
        network.load_state_dict(found.weights)
    except RuntimeError as error:
        lines = " ".join(line.strip() for line in str(error).splitlines()[1:])
        raise ValueError(f"{path} does not fit {type(network).__name__}: {lines[:300]}") from error
    return {key: found.known[key] for key in ("mean", "std") if key in found.known}


def _wants_arguments(make: Callable[..., object]) -> bool:
    parameters = inspect.signature(make).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


PREFIX = "timm:"


class TimmStudent(Classifier):
    """The untrained timm model `timm:NAME` with the spec's classes and channels.

    Raises ImportError without timm, ValueError for a name unknown to timm, OSError if timm cannot create the model.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        name = spec.name.removeprefix(PREFIX)
        timm = _timm()
        if not timm.is_model(name):
            raise unknown("timm model", name, timm.list_models())
        sizes = {"num_classes": spec.num_classes, "in_chans": spec.in_channels}
        self.body = _create_timm(timm, name, False, sizes)

    def network(self, x: Tensor) -> Tensor:
        return self.body(x)


def _timm() -> ModuleType:
    try:
        return require("timm", "A timm: model", "timm")
    except RuntimeError as error:  # raised by a torchvision built for another torch
        raise ImportError(f"A timm: model needs a torchvision that fits your torch {torch.__version__} "
                          f"({first_line(error)}); install the two together: pip install torch torchvision") from error


def _create_timm(timm: ModuleType, name: str, pretrained: bool, options: dict[str, int]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # raised by timm, the hub's client or the network
        check_hugging_face(error)
        raise OSError(f"timm cannot make {name!r}: {first_line(error)}") from error
