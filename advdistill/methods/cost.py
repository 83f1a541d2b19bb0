"""What a method costs: how often a training step runs each network."""

from collections import Counter
from collections.abc import Callable, Container
from typing import Any

import torch

from .method import Batch, Method, Objective

__all__ = ["check_teacher_every", "passes"]

STEPS = 10


class Made(dict[str, Any]):
    """What a method's `modules` would be by any name, made by a function of the name."""

    def __init__(self, make: Callable[[str], object]):
        self.make = make

    def __missing__(self, name: str) -> object:
        return self.setdefault(name, self.make(name))


def passes(
    method: Method, steps: int = STEPS, awp: bool = False, given: Container[str] | None = None
) -> dict[str, int]:
    """Forward passes of a step whose attack has so many steps, by network, counted by running it on a toy.

    Attack passes have a backward pass to the images; so do a teacher's that the attack differentiates. With weight
    perturbation (`awp`) the student's passes for the losses are made twice. Of the optional teachers,
    those whose roles are `given` count; all unless it is said.
    """
    counts: Counter[str] = Counter()

    def network(role: str) -> Objective:
        weight = torch.eye(4, requires_grad=role == "student")

        def run(x: torch.Tensor) -> torch.Tensor:
            counts[role] += 1
            return x.flatten(1) @ weight

        return run

    left_out = [role for role in method.optional if given is not None and role not in given]
    teachers = {role: network(role) for role in method.teachers if role not in left_out}
    batch = Batch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), network("student"), teachers)
    batch.modules = Made(network)
    objective = method.fresh().inner(batch)
    for _ in range(steps):
        if objective:
            objective(batch.x.clone().requires_grad_())
    crafted = counts["student"]
    method.fresh().outer(batch.attacked(batch.x + 0.1, network("student")))
    counts["student"] += (counts["student"] - crafted) * awp
    return dict(counts)


def check_teacher_every(method: Method, every: int, custom: bool = False) -> None:
    """Raise ValueError unless `every` is a number of steps, and the method's attack queries a frozen teacher at x'.

    A `custom` attack is not the method's, and queries the student alone.
    """
    if every < 1:
        raise ValueError(f"teacher_every must be a number of attack steps, at least 1, got {every!r}.")
    counts = {} if custom else passes(method)
    if not any(counts.get(role, 0) >= STEPS for role in method.teachers if role not in method.trained):
        attack = "a CustomAttack" if custom else f"{type(method.parts[0]).__name__}'s attack"
        raise ValueError(
            f"teacher_every={every} has no effect: {attack} never queries a frozen teacher at x', as AdaAD's "
            "does. Leave it out."
        )
