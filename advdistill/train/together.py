"""Several processes of one run: when one ends, the others say so."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from ..run import Run

__all__ = ["noticing_loss"]

SIGNS = ("gloo", "NCCL", "Connection closed", "Connection reset")  # of what PyTorch raises as a plain RuntimeError


@contextmanager
def noticing_loss(fabric: Fabric, run: Run) -> Iterator[None]:
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
