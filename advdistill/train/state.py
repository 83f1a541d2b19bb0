"""The state of a run: one object, saved whole, so that a continuation is exact."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..files import write_atomic
from ..methods import Method

__all__ = ["Position", "State"]


@dataclass
class Position:
    """Where a run is.

    Attributes:
        epoch: epochs done.
        batch: batches done of the epoch under way.
        step: optimiser steps done.
        sums: losses of the epoch under way, summed over its steps.
        best: validation figures of the best checkpoint.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)


class State:
    """Student, teachers that train along, optimiser, the method's own state, weight average and position.

    Args:
        trained: the teachers that train along, by role.
    """

    def __init__(
        self, student: nn.Module, trained: dict[str, nn.Module], optimizer: torch.optim.Optimizer, method: Method,
        average: AveragedModel | None,
    ):  # fmt: skip
        self.student, self.trained, self.optimizer, self.method = student, nn.ModuleDict(trained), optimizer, method
        self.average, self.at = average, Position()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the average, once there is one."""
        return self.average.module if self.average and self.average.n_averaged else self.student

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(self._values(), buffer)
        write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))

    def load(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is damaged.
        """
        try:
            values = torch.load(path, weights_only=True, map_location="cpu")
            self.student.load_state_dict(values["student"])
            self.trained.load_state_dict(values["trained"])
            self.optimizer.load_state_dict(values["optimizer"])
            if self.average:
                self.average.load_state_dict(values["average"])
            device = next(self.student.parameters()).device
            for part, saved in zip(self.method.parts, values["method"], strict=True):
                part.state = {name: tensor.to(device) for name, tensor in saved.items()}
            self.at = Position(**values["position"])
        except Exception as error:  # torch.load reports damage with half a dozen types
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} is damaged ({first}). Delete the run's folder to start afresh.") from error

    def _values(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "method": [part.state for part in self.method.parts],
            "position": vars(self.at),
        }
