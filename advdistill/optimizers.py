"""Settings of the optimiser: SGD, AdamW, or any class of torch.optim and LAMB by name."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from ._internal.messages import unknown
from ._internal.packages import require
from ._internal.reading import printable

__all__ = ["OPTIMIZERS", "SGD", "AdamW", "Group", "Optimizer", "TorchOptimizer", "groups", "make", "settings"]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; raises ValueError for implausible values.

    >>> SGD(lr=0.05, nesterov=True).momentum
    0.9
    >>> SGD(lr=-1)
    Traceback (most recent call last):
    ValueError: optimizer.lr must lie between 0 and 100, got -1.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    decay_norms_and_biases: bool = True
    """Whether weight decay applies to all parameters, as in the papers' releases."""

    def __post_init__(self) -> None:
        _between("lr", self.lr, 100)
        _between("momentum", self.momentum, 1)
        _between("weight_decay", self.weight_decay, 1)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay; by default, norms and biases do not decay.

    >>> AdamW(lr=2e-3).betas
    (0.9, 0.999)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    decay_norms_and_biases: bool = False

    def __post_init__(self) -> None:
        _between("lr", self.lr, 100)
        _between("weight_decay", self.weight_decay, 1)
        for beta in self.betas:
            _between("betas", beta, 1)
        _between("eps", self.eps, 1)


@dataclass(frozen=True)
class TorchOptimizer:
    """Any class of torch.optim by name, or `lamb` from timm.

    Args:
        name: name of the class, such as `Adagrad` or `RMSprop`.
        options: further arguments of that class by name.

    Raises:
        ValueError: an unknown class, an option that the class lacks, or a class that needs a closure, such as LBFGS.

    >>> TorchOptimizer("RMSprop", lr=0.01, options={"momentum": 0.9}).name
    'RMSprop'
    """

    name: str = "lamb"
    lr: float = 1e-3
    weight_decay: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    decay_norms_and_biases: bool = False

    def __post_init__(self) -> None:
        _between("lr", self.lr, 100)
        _between("weight_decay", self.weight_decay, 1)
        kind = _class_of(self.name)
        known = [name for name in inspect.signature(kind).parameters if name not in ("self", "params")]
        for name in self.options:
            if name not in known:
                raise unknown(f"option of the optimizer {self.name}", str(name), known)
        if self.weight_decay and "weight_decay" not in known:
            raise ValueError(f"The optimizer {self.name} has no weight decay; got weight_decay={self.weight_decay}.")
        if inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty:
            raise ValueError(f"The optimizer {self.name} computes the loss several times a step; choose another.")
        try:
            kind([nn.Parameter(torch.zeros(1, 1))], **settings(self))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The optimizer {self.name} rejects its options: {printable(error)}.") from None


Optimizer = SGD | AdamW | TorchOptimizer
OPTIMIZERS: dict[str, type[SGD] | type[AdamW]] = {"sgd": SGD, "adamw": AdamW}


def settings(optimizer: Optimizer) -> dict[str, Any]:
    """Return the keyword arguments of the optimiser's class, which are the options of each parameter group."""
    if isinstance(optimizer, TorchOptimizer):
        known = inspect.signature(_class_of(optimizer.name)).parameters
        decay = {"weight_decay": optimizer.weight_decay} if "weight_decay" in known else {}
        return {**optimizer.options, "lr": optimizer.lr, **decay}
    return {f.name: getattr(optimizer, f.name) for f in fields(optimizer) if f.name != "decay_norms_and_biases"}


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters of one network that share their settings.

    Attributes:
        name: name of the network.
        decays: whether weight decay applies to the parameters.
    """

    name: str
    parameters: list[nn.Parameter]
    decays: bool = True


def groups(optimizer: Optimizer, networks: Mapping[str, nn.Module]) -> list[Group]:
    """Return the parameter groups of several networks: one for each, or two if norms and biases do not decay."""
    found = []
    for name, network in networks.items():
        every = list(network.parameters())
        if optimizer.decay_norms_and_biases:
            found.append(Group(name, every))
        else:
            found += [Group(name, [p for p in every if (p.ndim > 1) is decays], decays) for decays in (True, False)]
    return [group for group in found if group.parameters]


def make(optimizer: Optimizer, parts: Iterable[Group]) -> torch.optim.Optimizer:
    """Create the optimiser with these parameter groups, in their order.

    Raises:
        ValueError: the optimiser's class rejects a parameter; Muon, for example, accepts only matrices.
    """
    kind = _class_of(optimizer.name if isinstance(optimizer, TorchOptimizer) else type(optimizer).__name__)
    try:
        return kind([{"params": part.parameters} for part in parts], **settings(optimizer))
    except ValueError as error:
        raise ValueError(f"The optimizer {kind.__name__} refuses the student: {printable(error)}.") from None


def _class_of(name: str) -> type[torch.optim.Optimizer]:
    if name.lower() == "lamb":
        lamb: type[torch.optim.Optimizer] = require("timm.optim", "LAMB", "timm").Lamb
        return lamb
    kinds = {
        kind.__name__: kind
        for kind in vars(torch.optim).values()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    }
    if name not in kinds:
        raise unknown("optimizer", name, [*OPTIMIZERS, "lamb", *kinds])
    return kinds[name]


def _between(name: str, value: float, high: float) -> None:
    if not 0 <= value <= high:
        raise ValueError(f"optimizer.{name} must lie between 0 and {high:g}, got {printable(value)}.")
