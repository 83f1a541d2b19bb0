"""Run functions of tensors as CUDA graphs: captured once, then replayed with a single launch of all their kernels."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from .._internal.messages import first_line
from .._internal.rng import Rng

__all__ = ["CudaGraphs", "RaisingRng", "Tensors", "raise_on_total"]

Tensors = dict[Any, Tensor]  # by name
MOST = 4  # graphs; more than one, as an epoch's last batch has another shape, and a method's state may begin empty


class CudaGraphs:
    """Runner of functions as CUDA graphs; after the first failed capture it warns and runs no more graphs."""

    def __init__(self) -> None:
        self.captured: dict[Hashable, Captured] = {}
        self.refused = False

    def __call__(self, function: Callable[[Tensors], Tensors], given: Tensors, *constants: Hashable) -> Tensors | None:
        """Compute `function(given)` with a CUDA graph.

        Args:
            function: maps tensors to tensors, by name; it must draw no random numbers, read no value on the CPU and
                change none of its arguments.
            given: all tensors that change from call to call; the function runs on the device of the first.
            constants: what else the function depends on; another graph is captured when a constant, shape or dtype
                changes.

        Returns:
            New tensors by name; `None` if the function cannot be captured.

        Warns:
            UserWarning: the function cannot be captured, with the reason.
        """
        if self.refused:
            return None
        key = constants, *((name, value.shape, value.dtype) for name, value in given.items())
        try:
            if key not in self.captured:
                if len(self.captured) == MOST:
                    del self.captured[next(iter(self.captured))]
                self.captured[key] = Captured(function, given, next(iter(self.captured.values()), None))
        except Exception as error:  # a value read on the CPU, an operation that synchronises, no memory left
            reason = first_line(error.__context__ or error)  # the error that ends a capture hides its cause
            warnings.warn(f"The attack runs without a CUDA graph: {reason}", stacklevel=2)
            self.refused = True
            return None
        return self.captured[key](given)


class RaisingRng(Rng):
    """An `Rng` that raises RuntimeError when a graph draws from it, since replays would repeat the numbers."""

    def __init__(self) -> None:
        super().__init__(0)

    def _rows(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        raise RuntimeError("the attack's objective draws random numbers.")


def raise_on_total(values: Tensor) -> Tensor:
    """Raise RuntimeError; replaces `Batch.total` in a graph."""
    raise RuntimeError("the attack's objective needs a sum over the images of all processes.")


class Captured:
    """One function captured as a graph, with copies of its arguments as the inputs.

    Args:
        other: another graph that shares its memory with this one, since only one of them runs at a time.
    """

    def __init__(self, function: Callable[[Tensors], Tensors], given: Tensors, other: "Captured | None"):
        device = next(value.device for value in given.values())
        self.given = {name: value.to(device, copy=True) for name, value in given.items()}
        with torch.cuda.device(device):
            self.graph = torch.cuda.CUDAGraph()
            self.stream: torch.cuda.Stream = other.stream if other else torch.cuda.Stream()
            now, pool = torch.cuda.current_stream(), other.graph.pool() if other else None
            self.stream.wait_stream(now)
            with torch.cuda.stream(self.stream):
                function(self.given)  # what compilers and libraries do at a first call cannot be captured
                with torch.cuda.graph(self.graph, pool, self.stream, capture_error_mode="thread_local"):
                    self.results = function(self.given)
            now.wait_stream(self.stream)

    def __call__(self, given: Tensors) -> Tensors:
        torch._foreach_copy_(list(self.given.values()), list(given.values()))
        self.graph.replay()
        return {name: value.clone() for name, value in self.results.items()}  # the next replay overwrites them
