"""What a method costs: how often a training step runs each network."""

from collections import Counter

import torch

from .method import Batch, Method, Objective

__all__ = ["passes"]

STEPS = 10


def passes(method: Method) -> dict[str, int]:
    """Forward passes of a step with a 10-step attack, by network, counted by running it on a toy.

    Attack passes have a backward pass to the images; so do a teacher's that the attack differentiates.
    """
    counts: Counter[str] = Counter()

    def network(role: str) -> Objective:
        weight = torch.eye(4, requires_grad=role == "student")

        def run(x: torch.Tensor) -> torch.Tensor:
            counts[role] += 1
            return x.flatten(1) @ weight

        return run

    teachers = {role: network(role) for role in method.teachers}
    batch = Batch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), network("student"), teachers)
    objective = method.fresh().inner(batch)
    for _ in range(STEPS):
        if objective:
            objective(batch.x.clone().requires_grad_())
    method.fresh().outer(batch.attacked(batch.x + 0.1, network("student")))
    return dict(counts)
