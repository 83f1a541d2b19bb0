"""Several processes of one run: reductions, equal batch-norm statistics, and an error if a process has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .._internal.modes import batch_norms
from ..run import Run

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Statistics", "agreed", "naming_lost_processes", "reduced"]

AGREE_EVERY = 10  # steps between two exchanges of the processes about stopping or saving
SIGNS = ("gloo", "NCCL", "Connection closed", "Connection reset")  # in RuntimeErrors for lost connections


@contextmanager
def naming_lost_processes(fabric: "Fabric", run: Run) -> Iterator[None]:
    """Within the context, raise ConnectionError if another process of the run can no longer be reached."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(sign in str(error) for sign in SIGNS)
        if fabric.world_size == 1 or not lost:
            raise
        raise ConnectionError(
            f"Another process of {run} has ended or cannot be reached; its own message, if it left one, says why. "
            "The last saved state is intact; run the same command to resume, with fewer processes if need be."
        ) from error


def reduced(fabric: "Fabric", values: Tensor, by: str) -> Tensor:
    """Return a tensor's `mean`, `sum` or `max` over the processes, on each process."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op=by))


def agreed(fabric: "Fabric", step: int, *values: int) -> tuple[int, ...]:
    """Return the maximum of each value over the processes; 0 at steps without an exchange."""
    if fabric.world_size == 1:
        return values
    if step % AGREE_EVERY:
        return (0,) * len(values)
    return tuple(reduced(fabric, torch.tensor(values, device=fabric.device), "max").tolist())


class Statistics:
    """Running statistics of the batch-norm layers that PyTorch does not synchronise: those on CPUs.

    Each process normalises its part of the batch by itself; without `average`, each would also attack, validate and
    save a different network.
    """

    def __init__(self, fabric: "Fabric", *networks: nn.Module):
        self.fabric = fabric
        layers = [norm for net in networks for norm in batch_norms(net) if not isinstance(norm, nn.SyncBatchNorm)]
        self.tensors: list[Any] = [running for layer in layers for running in (layer.running_mean, layer.running_var)]

    def average(self) -> None:
        """Replace the statistics by their mean over the processes, on each process."""
        if self.fabric.world_size == 1 or not self.tensors:
            return
        means = reduced(self.fabric, torch.cat(self.tensors), "mean")
        torch._foreach_copy_(self.tensors, list(means.split([len(running) for running in self.tensors])))
