"""What a training consists of: devices, networks and data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from ..data import Split
from ..data.loaded import Loaded
from ..distiller import Distiller
from .warm_start import WarmStart

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Parts"]


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a training.

    Attributes:
        fabric: launched.
        student: the network to train, on the CPU; after `Trainer.fit` it has the last weights.
        distiller: the method with its teachers, some of which may train along.
        begun: what the student began with, where that is another network's weights.
        data: the whole training split; `train` and `validation` are disjoint parts of it.
    """

    fabric: "Fabric"
    student: nn.Module
    distiller: Distiller
    data: Split | Loaded
    train: Split | Loaded
    validation: Split
    begun: WarmStart | None = None
