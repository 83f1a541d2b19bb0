"""The cost of a method: how often a training step runs each network."""

from collections import Counter
from collections.abc import Callable, Container
from typing import Any

import torch

from .crafting import extrapolated
from .method import Batch, Method, Objective

__all__ = ["check_teacher_every", "passes"]

STEPS = 10


class ModulesOnDemand(dict[str, Any]):
    """A stand-in for `batch.modules`: a module of any name is created by a function of the name."""

    def __init__(self, make: Callable[[str], object]):
        self.make = make

    def __missing__(self, name: str) -> object:
        return self.setdefault(name, self.make(name))


def passes(
    method: Method, steps: int = STEPS, awp: bool = False, given: Container[str] | None = None,
    teacher_every: int | None = None,
) -> dict[str, int]:  # fmt: skip
    """Count a training step's forward passes by network, for `steps` attack steps, by running it on a toy batch.

    The student's passes in the attack also have a backward pass to the images, as have those of a teacher that the
    attack differentiates. With weight perturbation (`awp`) the student's passes for the losses count twice. Optional
    teachers count if their roles are in `given`; `None` counts all of them. With `teacher_every`, frozen teachers run
    at every k-th attack step only.
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
    batch.modules = ModulesOnDemand(network)
    frozen = teachers.keys() - method.trained
    objective = method.fresh().inner(extrapolated(batch, frozen, teacher_every))
    for _ in range(steps):
        if objective:
            x = batch.x.clone().requires_grad_()
            torch.autograd.grad(objective(x).sum(), x)
    crafted = counts["student"]
    method.fresh().outer(batch.attacked(batch.x + 0.1, network("student")))
    counts["student"] += (counts["student"] - crafted) * awp
    return dict(counts)


def check_teacher_every(method: Method, every: int, custom: bool = False) -> None:
    """Raise ValueError unless `every` is at least 1 and the method's attack queries a frozen teacher at x'.

    A `custom` attack replaces the method's and queries only the student.
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
