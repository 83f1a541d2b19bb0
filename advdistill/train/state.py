"""The state of a run: one object, saved whole, from which training resumes exactly."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from typeguard import TypeCheckError

from .._internal.adapter import copied
from .._internal.files import read_sealed, write_sealed
from ..methods import Method
from ..models.checkpoint import check_tensors, load_torch
from ..results.plain import build
from ..run import previous_state_file
from .inputs import Inputs

__all__ = ["Position", "State"]


@dataclass
class Position:
    """The progress of a run.

    Attributes:
        epoch: epochs done.
        batch: batches done of the current epoch.
        step: optimiser steps done.
        sums: losses of the current epoch by name, summed over its steps.
        seconds: time spent on the current epoch.
        best: validation figures of the best checkpoint.
        rollbacks: how often the run was rolled back after diverging; each rollback halves the learning rate.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0


class State:
    """The networks in training, optimiser, the method's own state, weight average, position, and digests of the inputs.

    On disk there are two files, each with a checksum: the newest state, and the last earlier one that was saved at the
    end of an epoch.

    Args:
        trained: the jointly trained teachers, by role.
        modules: the method's own networks, by name.

    Attributes:
        statistics: re-estimated batch-norm buffers by name, for the network that is validated and saved.
    """

    def __init__(
        self, student: nn.Module, trained: dict[str, nn.Module], optimizer: torch.optim.Optimizer, method: Method,
        average: AveragedModel | None, modules: dict[str, nn.Module] | None = None,
    ):  # fmt: skip
        self.student, self.trained, self.optimizer, self.method = student, nn.ModuleDict(trained), optimizer, method
        self.modules = nn.ModuleDict(modules or {})
        self.average, self.at, self.inputs = average, Position(), Inputs()
        self.statistics: dict[str, Tensor] = {}
        self._keep = False  # whether the file at `path` is intact and was saved at the end of an epoch

    @property
    def evaluated(self) -> nn.Module:
        """The network to validate and save: the student, or its average once there is one, with any `statistics`."""
        network: nn.Module = self.average.module if self.average and self.average.n_averaged else self.student
        if self.statistics:
            network = copied(network)
            network.load_state_dict(self.statistics, strict=False)
        return network

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(self._values(), buffer)
        write_sealed(path, buffer.getbuffer(), previous_state_file(path) if self._keep else None)
        self._keep = not self.at.batch

    def load(self, path: Path) -> str:
        """Load the newest intact state.

        Returns:
            What is wrong with a damaged newer state, or an empty string.

        Raises:
            ValueError: neither file is intact, or the state belongs to other networks.
        """
        values, wrong = _newest(path)
        self._load_values(values)
        self._keep = not (wrong or self.at.batch)
        return wrong

    def resume_on(self, digests: Mapping[str, str], run: str, accept: bool) -> str:
        """Compare the current inputs with those that the loaded run began with; see `Inputs.resume`.

        Args:
            digests: digests of the current inputs, by name.
            run: the run's folder, for messages.
            accept: whether to continue if the inputs differ.
        """
        networks = {"student": self.student} | {f"teachers.{role}": each for role, each in self.trained.items()}
        return self.inputs.resume(digests, networks, self.at.epoch, run, accept)

    def load_epoch(self, path: Path) -> None:
        """Load the state from the end of the last finished epoch, or from the beginning of the first.

        Raises:
            ValueError: the file is damaged.
        """
        values, inputs = _newest(path)[0], self.inputs
        self._load_values(_read(previous_state_file(path)) if values["position"].get("batch") else values)
        self.inputs = inputs  # changes since then stay recorded

    def _load_values(self, values: dict[str, Any]) -> None:
        try:
            self.student.load_state_dict(values["student"])
            self.trained.load_state_dict(values["trained"])
            self.modules.load_state_dict(values.get("modules", {}))  # earlier versions have none
            self.optimizer.load_state_dict(values["optimizer"])
            if self.average:
                self.average.load_state_dict(values["average"])
            device = next(self.student.parameters()).device
            for part, saved in zip(self.method.parts, values["method"], strict=True):
                part.state = {name: tensor.to(device) for name, tensor in saved.items()}
            self.statistics = {name: tensor.to(device) for name, tensor in values.get("statistics", {}).items()}
            self.at = build(Position, values["position"])
            self.inputs = build(Inputs, values.get("inputs", vars(Inputs())))  # earlier versions have none
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, TypeCheckError) as error:
            first = " ".join(str(error).splitlines()[:1])
            raise ValueError(f"The run's state is of other networks ({first}). Give those it began with.") from error

    def _values(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "trained": self.trained.state_dict(),
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "method": [part.state for part in self.method.parts],
            "statistics": self.statistics,
            "position": vars(self.at),
            "inputs": vars(self.inputs),
        }


def _read(path: Path) -> dict[str, Any]:
    stream = read_sealed(path)
    values = load_torch(stream, str(path))
    if not isinstance(values, dict) or not isinstance(values.get("position"), dict):
        raise ValueError(f"{path} is not the state of a run")
    check_tensors(_tensors(values), stream.getbuffer().nbytes, str(path))
    return values


def _tensors(values: object) -> Iterator[Tensor]:
    """Yield all tensors in nested containers; each container is visited once, as it may contain itself."""
    waiting, visited = [values], set()
    while waiting:
        if isinstance(value := waiting.pop(), Tensor):
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in visited:
            visited.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _newest(path: Path) -> tuple[dict[str, Any], str]:
    """Return the newest intact state, and what is wrong with a damaged newer one, if any."""
    try:
        return _read(path), ""
    except ValueError as newest:
        try:
            return _read(previous_state_file(path)), str(newest)
        except ValueError as older:
            raise ValueError(f"{newest}; {older}. Delete the run's folder to start afresh.") from None
