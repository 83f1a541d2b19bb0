"""What a paper's equation may mention (`Batch`), and what a method is: the pair of `inner` and `outer`."""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..attacks.pgd import Mode, Objective, Start

__all__ = ["Batch", "Losses", "Method", "Objective", "Sum", "Term"]

Network = Callable[[Tensor], Tensor]
Losses = dict[str, Tensor]


class _Memo:
    """A network that is run once per constant image tensor, so that terms share its forward passes."""

    def __init__(self, network: Network):
        self.network = network
        self.known: dict[int, tuple[Tensor, Tensor]] = {}

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
        teachers: networks by role: `robust` (T), `clean` (N), `peer` (P).
        progress: share of the training that is done, in [0, 1].
        rate: factor of the learning rate's schedule; rates of a method's own state follow it.
        total: sum of `[B, ...]` over the images of the whole batch, those of other processes too; a value, no gradient.
        x_adv: adversarial images `[B, C, H, W]`; inside the attack they are not known yet, and equal x.
        notes: what `inner` saw of the attack and `outer` wants to know.
    """

    x: Tensor
    y: Tensor
    student: Network
    teachers: dict[str, Network] = field(default_factory=dict)
    progress: float | Tensor = 1.0
    x_adv: Tensor = None  # type: ignore[assignment]  # a Tensor from __post_init__ on
    rate: float | Tensor = 1.0
    total: Callable[[Tensor], Tensor] = lambda values: values.detach().sum(0)
    notes: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.x_adv = self.x if self.x_adv is None else self.x_adv
        self.student = _memo(self.student)
        self.teachers = {role: _memo(teacher) for role, teacher in self.teachers.items()}

    def attacked(self, x_adv: Tensor, student: Network, trained: dict[str, Network] | None = None) -> "Batch":
        """The same batch with its adversarial images; what the frozen teachers said of x is kept.

        Args:
            trained: teachers that train along, as they are while the losses are taken.
        """
        return replace(self, x_adv=x_adv, student=student, teachers=self.teachers | (trained or {}))

    @property
    def found(self) -> dict[tuple[str, str], Tensor]:
        """What `inner` and its objective have found out: `("answer", role)`, a teacher's logits of x, and notes."""
        known = {role: _memo(teacher).known for role, teacher in self.teachers.items()}
        answers = {("answer", role): of[id(self.x)][1] for role, of in known.items() if id(self.x) in of}
        return answers | {("note", name): value for name, value in self.notes.items()}

    def find(self, found: dict[tuple[str, str], Tensor]) -> None:
        """Take over what another batch of these images has `found`."""
        for (kind, name), value in found.items():
            if kind == "note":
                self.notes[name] = value
            else:
                _memo(self.teachers[name]).known[id(self.x)] = self.x, value

    def mean(self, values: Tensor) -> Tensor:
        """Mean of `[B]` over the images of the whole batch, those of other processes too; a value, no gradient."""
        total, images = self.total(torch.stack([values, torch.ones_like(values)], 1))
        return total / images

    @property
    def teacher(self) -> Network:
        """T, the robust teacher."""
        return self.teachers["robust"]

    @property
    def clean_teacher(self) -> Network:
        """N, the teacher of clean accuracy."""
        return self.teachers["clean"]

    @property
    def peer(self) -> Network:
        """P, a network like the student that begins with it."""
        return self.teachers["peer"]


class Term:
    """Something a student descends; joins a method with `+`. Subclasses are dataclasses of their coefficients.

    Attributes:
        teachers: roles of the teachers it needs: `robust`, `clean`, `peer`.
        caution: what happens with a teacher that is not robust, if worse than learning nothing from it.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    teachers: tuple[str, ...] = ("robust",)
    caution: ClassVar[str] = ""

    def __post_init__(self) -> None:
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

    def fresh(self) -> Self:
        """The same coefficients without the state of an earlier training."""
        return replace(self)

    def outer(self, batch: Batch) -> Losses:
        """Named losses, each `[B]`, that the student descends; called once a step, it may change `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no outer().")

    def end_epoch(self, rate: float) -> None:
        """Called after the last step of an epoch; it may change `state`.

        Args:
            rate: factor of the learning rate's schedule at the beginning of the next epoch.
        """

    def figures(self) -> dict[str, float]:
        """What of `state` is worth watching; written to the metrics after every epoch."""
        return {}


class Method(Term):
    """An attack climbs `inner`, a student descends `outer`.

    Attributes:
        trained: roles of the teachers that train along: eval mode in the attack, train mode in `outer`, whose losses
            they descend too.
        start: how its attack starts, see `PGD`.
        student_mode: mode of the student while it is attacked.
    """

    trained: tuple[str, ...] = ()
    start: Start = "gaussian"
    student_mode: Mode = "eval"

    def inner(self, batch: Batch) -> Objective | None:
        """The objective x' -> `[B]` of the attack; what does not depend on x' is computed once, outside of it.

        `None` means that the method trains without an attack.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner().")

    def teacher_sgd(self, student: dict[str, float], progress: float) -> dict[str, float]:
        """SGD's settings for the teachers that train along, asked at every step; the student's are the default.

        Args:
            student: lr, momentum, weight_decay and nesterov of the student at this step.
            progress: as in `Batch`.
        """
        return student

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

    def __post_init__(self) -> None:
        self.teachers = tuple(dict.fromkeys((*self.base.teachers, *self.term.teachers)))
        self.trained, self.start, self.student_mode = self.base.trained, self.base.start, self.base.student_mode

    @property
    def parts(self) -> list[Term]:
        return [*self.base.parts, *self.term.parts]

    def fresh(self) -> Self:
        return type(self)(self.base.fresh(), self.term.fresh())

    def inner(self, batch: Batch) -> Objective | None:
        return self.base.inner(batch)

    def teacher_sgd(self, student: dict[str, float], progress: float) -> dict[str, float]:
        return self.base.teacher_sgd(student, progress)

    def end_epoch(self, rate: float) -> None:
        for part in self.parts:
            part.end_epoch(rate)

    def figures(self) -> dict[str, float]:
        return {name: value for part in self.parts for name, value in part.figures().items()}

    def outer(self, batch: Batch) -> Losses:
        losses, more = self.base.outer(batch), self.term.outer(batch)
        if shared := losses.keys() & more.keys():
            raise ValueError(
                f"{type(self.base).__name__} and {type(self.term).__name__} both have a loss called {shared.pop()!r}; "
                "take one of them."
            )
        return losses | more
