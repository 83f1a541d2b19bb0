"""What a method is: the pair of `inner`, which an attack climbs, and `outer`, which a student descends."""

import math
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from ..attacks.pgd import Mode, Objective, Start
from .batch import Batch, Losses

__all__ = ["Batch", "Losses", "Method", "Objective", "Sum", "Term"]


class Term:
    """Losses that a student descends; added to a method with `+`. Subclasses are dataclasses of their coefficients.

    Attributes:
        teachers: roles of the teachers it needs: `robust`, `clean`, `peer`.
        caution: a warning for teachers that are not robust, where such a teacher does harm.
        state: tensors by name that training changes in a method; saved and resumed with a run.

    Raises:
        ValueError: a coefficient that is annotated `float` is negative or not finite.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    teachers: tuple[str, ...] = ("robust",)
    caution: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        for coefficient in fields(self):
            value = getattr(self, coefficient.name)
            if coefficient.type in (float, "float") and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(
                    f"{coefficient.name} of {type(self).__name__} must be a finite number of at least 0, got {value!r}."
                )

    @property
    def parts(self) -> list["Term"]:
        """The method and the terms that are added up."""
        return [self]

    def fresh(self) -> Self:
        """A copy with the same coefficients and an empty `state`."""
        return replace(self)

    def outer(self, batch: Batch) -> Losses:
        """Named losses, `[B]` each, that the student descends. Called once a step; it may change `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no outer().")

    def end_epoch(self, rate: float) -> None:
        """Called after the last step of an epoch; it may change `state`.

        Args:
            rate: factor of the learning rate's schedule at the beginning of the next epoch.
        """

    def figures(self) -> dict[str, float]:
        """Figures of `state` by name; written to the metrics after every epoch."""
        return {}


class Method(Term):
    """An attack climbs `inner`, a student descends `outer`.

    Attributes:
        trained: roles of the teachers that train along: eval mode in the attack, train mode in `outer`, whose losses
            they descend too.
        start: how its attack starts, see `PGD`.
        student_mode: mode of the student while it is attacked, `eval` or `train`.

    >>> from dataclasses import dataclass
    >>> from advdistill import IGDM, Method
    >>> from advdistill.losses import cross_entropy
    >>> @dataclass
    ... class AdversarialTraining(Method):
    ...     weight: float = 1.0
    ...     teachers = ()
    ...     def inner(self, batch):
    ...         return lambda x_adv: cross_entropy(batch.student(x_adv), batch.y)
    ...     def outer(self, batch):
    ...         return {"adv": self.weight * cross_entropy(batch.student(batch.x_adv), batch.y)}
    >>> (AdversarialTraining(weight=2.0) + IGDM()).teachers
    ('robust',)
    """

    trained: tuple[str, ...] = ()
    start: Start = "gaussian"
    student_mode: Mode = "eval"

    def inner(self, batch: Batch) -> Objective | None:
        """The objective of the attack, x' `[B, C, H, W]` to `[B]`; compute what does not depend on x' outside of it.

        Returns:
            the objective, or `None` for a method that trains without an attack.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner().")

    def teacher_sgd(self, student: dict[str, float], progress: float) -> dict[str, float]:
        """SGD's settings at this step for the teachers that train along; the student's unless a method overrides it.

        Args:
            student: lr, momentum, weight_decay and nesterov of the student at this step.
            progress: share of the training that is done, in [0, 1].
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
