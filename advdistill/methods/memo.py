"""Cache of a network's outputs: it runs once per constant image tensor, however often an equation uses its output."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

import torch
from torch import Tensor, nn

from .._internal.modes import untracked
from .networks import Features, Network

__all__ = ["Memo", "memo"]


class Memo:
    """A network that runs once per constant image tensor, so that all terms of a loss use one forward pass."""

    def __init__(self, network: Network):
        self.network = network
        self.outputs: dict[int, tuple[Tensor, Tensor]] = {}  # by id(x); x is stored so that its id is not reused
        self.features: dict[int, dict[str, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad and not isinstance(self.network, Features):  # an iterate of the attack, used only once
            return _full_precision(self.network(x))
        if id(x) not in self.outputs:
            self._run(x)
        return self.outputs[id(x)][1]

    def _run(self, x: Tensor) -> None:
        if not isinstance(self.network, Features):
            self.outputs[id(x)] = x, _full_precision(self.network(x))
            return
        if x.requires_grad:  # of the attack's iterates, store only the current one
            for old in [key for key, (image, _) in self.outputs.items() if image.requires_grad]:
                del self.outputs[old], self.features[old]
        logits, found = self.network.recorded(x)
        self.outputs[id(x)] = x, _full_precision(logits)
        self.features[id(x)] = {name: _full_precision(output) for name, output in found.items()}

    @property
    def module(self) -> nn.Module | None:
        """The module inside this package's wrappers; `None` if the network is a plain function."""
        network: object = self.network
        while network is not None and not isinstance(network, nn.Module):
            network = getattr(network, "network", None)
        return network

    def without_tracking(self, x: Tensor) -> Tensor:
        with untracked(self.module) if self.module else nullcontext():
            return self(x)

    def taken(self, x: Tensor, part: Tensor, rows: Tensor) -> "Memo":
        """Return a memo for `part`, some rows of x, with the cached logits of these rows."""
        network = getattr(self.network, "of_rows", lambda rows: self.network)(rows)
        memo = Memo(network)
        if id(x) in self.outputs and not isinstance(network, Features):
            memo.outputs[id(part)] = part, self.outputs[id(x)][1][rows]
        return memo

    def train(self, mode: bool = True) -> NoReturn:
        """Raise ValueError: the attack, not a method, puts a network in eval or train mode."""
        raise ValueError(
            "Networks of a batch are functions, images to logits, and have no mode to set: the attack runs in the "
            "method's student_mode ('eval' or 'train'), and outer() in the mode that the training loop has set."
        )

    eval = train

    def at(self, x: Tensor, role: str, layers: Sequence[str]) -> dict[str, Tensor]:
        known = self.network.layers if isinstance(self.network, Features) else {}
        for name in layers:
            if name not in known:
                raise ValueError(
                    f"The method asks for the layer {name!r} of the {role}, which its layers() does not name; "
                    f"they name {', '.join(known) or 'none'}."
                )
        self(x)
        return {name: self.features[id(x)][name] for name in layers}


def memo(network: Network) -> Memo:
    return network if isinstance(network, Memo) else Memo(network)


def _full_precision(output: Tensor) -> Tensor:
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
