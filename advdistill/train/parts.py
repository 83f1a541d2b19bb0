"""The parts of a training run: devices, networks and data."""

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
        fabric: a launched Fabric.
        student: the network to train, on the CPU; after `Trainer.fit` it has the last weights.
        distiller: the method with its teachers, some of which may be trained jointly with the student.
        warm_start: the warm start, if the student begins with another network's weights.
        data: the whole training split. `train` is the part to train on, with any generated images; `validation` is
            the held-out part, or separate images.
    """

    fabric: "Fabric"
    student: nn.Module
    distiller: Distiller
    data: Split | Loaded
    train: Split | Loaded
    validation: Split
    warm_start: WarmStart | None = None
