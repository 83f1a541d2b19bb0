"""Run a method's attack on a batch as one CUDA graph."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..acceleration.cuda_graph import CudaGraphs, RaisingRng, Tensors, raise_on_total
from ..attacks import PGD
from .batch import Batch
from .method import Method
from .networks import NetworkWrappers

__all__ = ["replayed"]


def replayed(
    graphs: CudaGraphs, method: Method, batch: Batch, pgd: PGD, copies: Mapping[str, nn.Module], views: NetworkWrappers,
    extrapolated: Callable[[Batch], Batch],
) -> Tensor | None:  # fmt: skip
    """Compute x' of a batch by a CUDA graph; everything that changes from batch to batch is an input of the graph.

    Args:
        batch: the batch; the attack's `computed` results are stored in it.
        copies: the networks that the attack runs, by role, including the student.
        extrapolated: returns the batch with its teachers as the attack queries them.

    Returns:
        x' `[B, C, H, W]`; `None` if the attack cannot be captured.
    """
    rng = batch.rng
    given: Tensors = {"x": batch.x, "y": batch.y, "targets": batch.targets, "start": pgd.begin(batch.x, rng)}
    given |= {name: torch.full((), getattr(batch, name), device=batch.x.device) for name in ("progress", "rate")}
    given |= {(at, name): part.state[name] for at, part in enumerate(method.parts) for name in part.state}

    def climb(given: Tensors) -> Tensors:
        names = ("x", "y", "targets", "start", "progress", "rate")
        x, y, targets, begin, progress, rate = (given[name] for name in names)
        inputs = Batch(
            x, y, copies["student"], views.teachers(copies, x, targets), progress, rate=rate, total=raise_on_total,
            threat=pgd.threat, rng=RaisingRng(), targets=targets,
        )  # fmt: skip
        fresh = method.fresh()
        for at, (part, original) in enumerate(zip(fresh.parts, method.parts, strict=True)):
            part.state = {name: given[at, name] for name in original.state}
        with torch.no_grad():
            objective = fresh.inner(extrapolated(inputs))
        x_adv = x if objective is None else pgd.climb(objective, x, begin)
        return {"x_adv": x_adv, **inputs.computed}

    found = graphs(climb, given, pgd, *copies.values())
    if found is None:
        return None
    x_adv = found.pop("x_adv")
    batch.reuse(found)
    return x_adv
