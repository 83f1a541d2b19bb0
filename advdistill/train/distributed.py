"""Several processes of one run: they hold one network, and when one ends, the others say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..run import Run

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["Statistics", "noticing_loss", "reduced"]

SIGNS = ("gloo", "NCCL", "Connection closed", "Connection reset")  # of what PyTorch raises as a plain RuntimeError


@contextmanager
def noticing_loss(fabric: "Fabric", run: Run) -> Iterator[None]:
    """Raise ConnectionError, a sentence, where a process of the run can no longer be reached."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(sign in str(error) for sign in SIGNS)
        if fabric.world_size == 1 or not lost:
            raise
        raise ConnectionError(
            f"Another process of {run} has ended or cannot be reached; its own message, if it left one, says why. "
            "What was saved last stands; the same command continues, with fewer processes too."
        ) from error


def reduced(fabric: "Fabric", values: Tensor, by: str) -> Tensor:
    """The `mean`, `sum` or `max` over the processes."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op=by))


class Statistics:
    """Running statistics of the batch-norm layers that PyTorch does not synchronise: those on CPUs.

    Each process normalises its part of the batch for itself; without this each would also attack, validate and save a
    network of its own.
    """

    def __init__(self, fabric: "Fabric", *networks: nn.Module):
        self.fabric = fabric
        layers = [layer for network in networks for layer in network.modules() if _is_alone(layer)]
        self.tensors: list[Any] = [running for layer in layers for running in (layer.running_mean, layer.running_var)]

    def share(self) -> None:
        """Give every process the mean over the processes."""
        if self.fabric.world_size == 1 or not self.tensors:
            return
        means = reduced(self.fabric, torch.cat(self.tensors), "mean")
        torch._foreach_copy_(self.tensors, list(means.split([len(running) for running in self.tensors])))


def _is_alone(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and layer.track_running_stats
