"""Functions of tensors as CUDA graphs: recorded once, their kernels are launched together from then on."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from .._internal.messages import first_line

__all__ = ["Graphs", "Tensors"]

Tensors = dict[Any, Tensor]  # by name
KEPT = 4  # an epoch's last batch has a shape of its own, and a method's state may begin empty


class Graphs:
    """Runs functions as CUDA graphs; after one that cannot be recorded, and a warning that says so, it runs none."""

    def __init__(self) -> None:
        self.recorded: dict[Hashable, Recorded] = {}
        self.refused = False

    def __call__(self, function: Callable[[Tensors], Tensors], given: Tensors, *constants: Hashable) -> Tensors | None:
        """`function(given)`, in tensors of its own; `None` where it cannot be recorded.

        Args:
            function: tensors to tensors, by name; it draws nothing, looks at no value and changes none of them.
            given: all that changes from call to call; the first one says on which device it runs.
            constants: what else the function depends on; it is recorded anew where they or a shape have changed.
        """
        if self.refused:
            return None
        key = constants, *((name, value.shape, value.dtype) for name, value in given.items())
        try:
            if key not in self.recorded:
                if len(self.recorded) == KEPT:
                    del self.recorded[next(iter(self.recorded))]
                self.recorded[key] = Recorded(function, given, next(iter(self.recorded.values()), None))
        except Exception as error:  # a look at a value, an operation that waits, no memory left
            reason = first_line(error.__context__ or error)  # how a recording ends hides why
            warnings.warn(f"The attack runs without a CUDA graph: {reason}", stacklevel=2)
            self.refused = True
            return None
        return self.recorded[key](given)


class Recorded:
    """One function as a graph, over copies of what it is given.

    Args:
        beside: another graph, whose memory serves this one too: only one of them runs at a time.
    """

    def __init__(self, function: Callable[[Tensors], Tensors], given: Tensors, beside: "Recorded | None"):
        device = next(value.device for value in given.values())
        self.given = {name: value.to(device, copy=True) for name, value in given.items()}
        with torch.cuda.device(device):
            self.graph = torch.cuda.CUDAGraph()
            self.stream: torch.cuda.Stream = beside.stream if beside else torch.cuda.Stream()
            now, pool = torch.cuda.current_stream(), beside.graph.pool() if beside else None
            self.stream.wait_stream(now)
            with torch.cuda.stream(self.stream):
                function(self.given)  # what compilers and libraries prepare at a first call cannot be recorded
                with torch.cuda.graph(self.graph, pool, self.stream, capture_error_mode="thread_local"):
                    self.made = function(self.given)
            now.wait_stream(self.stream)

    def __call__(self, given: Tensors) -> Tensors:
        torch._foreach_copy_(list(self.given.values()), list(given.values()))
        self.graph.replay()
        return {name: value.clone() for name, value in self.made.items()}  # the next replay writes over them
