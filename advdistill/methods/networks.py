"""Wrappers of a method's networks: they mix labels into teacher outputs and record the outputs of layers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._internal.adapter import logits_of
from .._internal.checks import layer_of
from ..acceleration.frozen import Frozen

__all__ = ["Features", "Network", "NetworkWrappers"]

Network = Callable[[Tensor], Tensor]  # images [B, C, H, W] to logits [B, K]


@dataclass(frozen=True)
class Role:
    """The network of a role, images `[B, C, H, W]` to logits `[B, K]`, whatever the form of the network's output."""

    name: str
    network: Network

    def __call__(self, x: Tensor) -> Tensor:
        """Raise ValueError if the attack needs a gradient and the network gives none, e.g. under torch.no_grad."""
        logits = logits_of(self.network(x), self.name, x)
        if x.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            raise ValueError(
                f"The {self.name} gives no gradient with respect to x', which the attack needs: its forward pass runs "
                "under torch.no_grad or detaches its logits. Remove that from its forward."
            )
        return logits


class Features:
    """A network that records the outputs of some of its layers in the pass that computes the logits.

    Args:
        network: images `[B, C, H, W]` to logits `[B, K]`.
        layers: modules of the network, by name.
    """

    def __init__(self, network: Network, layers: Mapping[str, nn.Module]):
        self.network, self.layers = network, layers

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(x)

    def recorded(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits, and the layers' outputs by name; for a layer that runs twice, its last output."""
        found: dict[str, Tensor] = {}

        def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda module, inputs, output: found.update({name: output})

        with ExitStack() as hooks:
            for name, layer in self.layers.items():
                hooks.callback(layer.register_forward_hook(hook(name)).remove)
            return self.network(x), found


@dataclass(frozen=True, eq=False)
class Mixed:
    """Logits `[B, K]` of (1 - share) softmax(network(x)) + share y, for labels `[B]` or distributions `[B, K]`."""

    network: Network
    y: Tensor
    share: float

    def __call__(self, x: Tensor) -> Tensor:
        log_p, y = self.network(x).log_softmax(1), self.y
        soft = y.ndim == 2
        label = self.share * y.to(log_p.dtype) if soft else torch.zeros_like(log_p).scatter_(1, y[:, None], self.share)
        return ((1 - self.share) * log_p.exp() + label).clamp(min=torch.finfo(log_p.dtype).tiny).log()

    def of_rows(self, rows: Tensor) -> "Mixed":
        """Return the same mixture for some of the images, `[B]` booleans."""
        return Mixed(self.network, self.y[rows], self.share)


@dataclass(frozen=True)
class NetworkWrappers:
    """Wraps modules into the networks that a method calls.

    Args:
        trained: roles of the teachers trained with the student.
        layers: names of the layers that the method reads, by role.
        label_mixing: share of the label in the outputs of frozen teachers.
    """

    trained: Sequence[str]
    layers: Mapping[str, Sequence[str]]
    label_mixing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_mixing < 1:
            raise ValueError(f"label_mixing must lie in [0, 1), got {self.label_mixing!r}.")

    def teachers(self, networks: Mapping[str, nn.Module], x: Tensor, y: Tensor) -> dict[str, Network]:
        """Return the wrapped teachers by role, for images `[B, C, H, W]` and labels `[B]` or distributions."""
        return {role: self.recording(role, network, x, y) for role, network in networks.items()}

    def recording(self, role: str, source: nn.Module, x: Tensor, y: Tensor | None = None) -> Network:
        """Return a network that records the layers the method reads; labels `y` are mixed into a frozen teacher."""
        view: Network = Role("student" if role == "student" else f"{role} teacher", source)
        if self.label_mixing and y is not None and role not in self.trained:
            view = Mixed(view, y, self.label_mixing)
        if not (names := self.layers.get(role)):
            return view
        if isinstance(source, Frozen):
            return Features(view, {name: source.layer(name, x[:2]) for name in names})
        return Features(view, {name: layer_of(source, name, role) for name in names})
