"""What every model is: a description of five values, and a network that normalises its own input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a model again, besides its weights.

    Args:
        name: of the architecture, with its integers, as `create` takes it.
        num_classes: K.
        in_channels: C.
        mean, std: one value per channel, in units of pixels in [0, 1]; `None` is the identity.

    Raises:
        ValueError: `mean` or `std` does not fit `in_channels`, or a `std` is not positive.

    >>> ModelSpec("convnet-2", num_classes=3, in_channels=1, mean=[0.5]).mean
    (0.5,)
    """

    name: str
    num_classes: int = 10
    in_channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("mean", "std"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, self._per_channel(field))
        if self.std and min(self.std) <= 0:
            raise ValueError(f"Every std must be positive, not {min(self.std)}; None is no scaling.")

    def _per_channel(self, field: str) -> tuple[float, ...]:
        values = tuple(float(value) for value in getattr(self, field))
        if len(values) != self.in_channels:
            raise ValueError(f"{field} has {len(values)} value(s) but {self.name!r} has {self.in_channels} "
                             "input channel(s); give one per channel.")
        return values


class Classifier(nn.Module):
    """A network from images `[B, C, H, W]` in [0, 1] to logits `[B, K]`, with `spec` to tell which one it is.

    A subclass defines `network`. `mean` and `std` are buffers outside the state dict, so that published
    weights load unchanged; for the identity they are None and cost nothing.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        identity = spec.mean is None and spec.std is None
        for field, neutral in (("mean", 0.0), ("std", 1.0)):
            values = getattr(spec, field) or (neutral,) * spec.in_channels
            buffer = None if identity else torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(field, buffer, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x if self.mean is None or self.std is None else (x - self.mean) / self.std)

    def network(self, x: Tensor) -> Tensor:
        """The network proper, normalised images `[B, C, H, W]` to logits `[B, K]`."""
        raise NotImplementedError
