"""What a paper's equation may mention (`Batch`), and what a method is: the pair of `inner` and `outer`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["Batch", "Method", "Sum", "Term"]

Network = Callable[[Tensor], Tensor]


class _Memo:
    """A network that is run once per constant image tensor, so that terms share its forward passes."""

    def __init__(self, network: Network):
        self.network, self.known = network, {}

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad:  # an iterate of the attack, never seen again
            return _full_precision(self.network(x))
        if id(x) not in self.known:
            self.known[id(x)] = x, _full_precision(self.network(x))  # holding x keeps its id its own
        return self.known[id(x)][1]


def _memo(network: Network) -> _Memo:
    return network if isinstance(network, _Memo) else _Memo(network)


def _full_precision(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


@dataclass
class Batch:
    """Everything an equation may mention.

    Attributes:
        x: clean images `[B, C, H, W]` in [0, 1].
        y: labels `[B]`.
        student: S, images to logits `[B, K]`.
        teachers: frozen networks by role: `robust` (T), `clean` (N).
        progress: share of the training that is done, in [0, 1].
        rate: factor of the learning rate's schedule; rates of a method's own state follow it.
        mean: mean over the whole batch of one number per example, over all processes.
        x_adv: adversarial images `[B, C, H, W]`; inside the attack they are not known yet, and equal x.
    """

    x: Tensor
    y: Tensor
    student: Network
    teachers: dict[str, Network] = field(default_factory=dict)
    progress: float = 1.0
    x_adv: Tensor | None = None
    rate: float = 1.0
    mean: Callable[[Tensor], Tensor] = torch.mean

    def __post_init__(self):
        self.x_adv = self.x if self.x_adv is None else self.x_adv
        self.student = _memo(self.student)
        self.teachers = {role: _memo(teacher) for role, teacher in self.teachers.items()}

    def attacked(self, x_adv: Tensor, student: Network) -> "Batch":
        """The same batch with its adversarial images; what the teachers said of x is kept."""
        return replace(self, x_adv=x_adv, student=student)

    @property
    def teacher(self) -> Network:
        """T, the robust teacher."""
        return self.teachers["robust"]

    @property
    def clean_teacher(self) -> Network:
        """N, the teacher of clean accuracy."""
        return self.teachers["clean"]


class Term:
    """Something a student descends; joins a method with `+`. Subclasses are dataclasses of their coefficients."""

    teachers: ClassVar[tuple[str, ...]] = ("robust",)

    def __post_init__(self):
        self.state: dict[str, Tensor] = {}  # what training changes in a method; saved and resumed with a run
        for coefficient in fields(self):
            value = getattr(self, coefficient.name)
            if coefficient.type in (float, "float") and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(
                    f"{coefficient.name} of {type(self).__name__} must be a finite number of at least 0, got {value!r}."
                )

    @property
    def parts(self) -> list["Term"]:
        """The method and the terms it is the sum of."""
        return [self]

    def fresh(self) -> "Term":
        """The same coefficients without the state of an earlier training."""
        return replace(self)

    def outer(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, each `[B]`, that the student descends; called once a step, it may change `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no outer().")


class Method(Term):
    """An attack climbs `inner`, a student descends `outer`.

    Attributes:
        teachers: roles of the teachers it needs: `robust`, `clean`.
        start: how its attack starts, see `PGD`.
        student_mode: mode of the student while it is attacked.
    """

    start: ClassVar[str] = "gaussian"
    student_mode: ClassVar[str] = "eval"

    def inner(self, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        """The objective x' -> `[B]` of the attack; what does not depend on x' is computed once, outside of it.

        `None` means that the method trains without an attack.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner().")

    def __add__(self, term: Term) -> "Sum":
        if isinstance(term, Method):
            raise TypeError(
                f"{type(self).__name__} and {type(term).__name__} each choose their own adversarial examples; "
                "add a Term such as IGDM, not a Method."
            )
        return Sum(self, term)


@dataclass
class Sum(Method):
    """A method with a term added to what the student descends; the attack stays the method's."""

    base: Method
    term: Term

    def __post_init__(self):
        self.teachers = tuple(dict.fromkeys((*self.base.teachers, *self.term.teachers)))
        self.start, self.student_mode = self.base.start, self.base.student_mode

    @property
    def parts(self) -> list[Term]:
        return [*self.base.parts, *self.term.parts]

    def fresh(self) -> "Sum":
        return Sum(self.base.fresh(), self.term.fresh())

    def inner(self, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        return self.base.inner(batch)

    def outer(self, batch: Batch) -> dict[str, Tensor]:
        losses, more = self.base.outer(batch), self.term.outer(batch)
        if shared := losses.keys() & more.keys():
            raise ValueError(f"Two terms give a loss called {shared.pop()!r}; add each term once.")
        return losses | more
