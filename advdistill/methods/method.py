"""A method is a pair: `inner`, the objective that the attack maximises, and `outer`, the student's losses."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from .._internal.checks import check_coefficient
from ..attacks.pgd import PGD, Mode, Objective, Start
from ..attacks.training import OnBatch
from .batch import Batch, Losses
from .memory import Memory

__all__ = ["PGD", "Batch", "Losses", "Method", "Objective", "OnBatch", "Sum", "Term"]


class Term(Memory):
    """Losses that the student minimises, added to a method with `+`. Subclasses are dataclasses of their coefficients.

    Attributes:
        teachers: roles of the teachers that the term uses: `robust`, `clean`, `peer`, or names of your own.
        optional: the roles in `teachers` that may be missing; `batch.teachers` then lacks them.
        released_passes: `clean` or `adv`, images that the released code forwards in addition; see `Recipe.passes`.
        caution: added to the warning that a teacher is not robust, for terms that such a teacher harms.
        state: tensors of the term that training changes, by name; see `Memory`.
        own_teacher: for a method that teaches itself: why a teacher in the recipe is refused.

    Raises:
        ValueError: a coefficient annotated `float` is negative or not finite, or a temperature is 0.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    teachers: tuple[str, ...] = ("robust",)
    optional: tuple[str, ...] = ()
    released_passes: tuple[str, ...] = ()
    caution: ClassVar[str] = ""
    own_teacher: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__init__()
        for coefficient in fields(self):
            if coefficient.type in (float, "float"):
                check_coefficient(type(self).__name__, coefficient.name, getattr(self, coefficient.name))

    @property
    def parts(self) -> list["Term"]:
        """The summands: the method and the terms added to it."""
        return [self]

    def fresh(self) -> Self:
        """Return a copy with the same coefficients and an empty `state`."""
        return replace(self)

    def outer(self, batch: Batch) -> Losses:
        """Return the named losses, `[B]` each, that the student minimises. Called once a step; may change `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no outer().")

    def after_step(self, student: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        """Called after each optimiser step with the student and the networks of `modules`, to average weights."""

    def end_epoch(self, rate: float) -> None:
        """Called after each epoch with the learning-rate factor of the next epoch; may change `state`."""

    def figures(self) -> dict[str, float]:
        """Return values of `state` to log, by name; they are written to the metrics after every epoch."""
        return {}

    def layers(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the layers that the method reads by `batch.features`, by role (including `student`)."""
        return {}

    def modules(self, batch: Batch) -> Mapping[str, nn.Module]:
        """Create small networks that are trained with the student, such as connectors; they become `batch.modules`.

        They are saved and resumed with the run, but are not part of the saved and exported student.

        Args:
            batch: two training images and the networks in eval mode, to read the shapes of features from.
        """
        return {}

    def parameter_group(self, name: str, settings: Mapping[str, Any], progress: float) -> Mapping[str, Any]:
        """Return the optimiser settings at this step of a network trained with the student; by default the student's.

        Args:
            name: role of a teacher trained with the student, or name of a module.
            settings: the student's settings at this step: lr, weight_decay and the optimiser's other options.
            progress: share of the training that is done, in [0, 1].
        """
        return settings


class Method(Term):
    """A method: the attack maximises `inner`, the student minimises `outer`.

    Attributes:
        trained: roles of the teachers that are trained with the student: in eval mode during the attack, in train mode
            in `outer`, whose losses they minimise too.
        start: how the attack starts, see `PGD`.
        student_mode: mode of the student while it is attacked, `eval` or `train`.
        clean_first: an attack in eval mode uses the running statistics after a forward pass of x in train mode, because
            the release computes S(x) before the attack.

    >>> from dataclasses import dataclass
    >>> from advdistill import IGDM, Method
    >>> from advdistill.losses import cross_entropy
    >>> @dataclass
    ... class AdversarialTraining(Method):
    ...     weight: float = 1.0
    ...     teachers = ()
    ...     def inner(self, batch):
    ...         return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)
    ...     def outer(self, batch):
    ...         return {"adv": self.weight * cross_entropy(batch.student(batch.x_adv), batch.targets)}
    >>> (AdversarialTraining(weight=2.0) + IGDM()).teachers
    ('robust',)
    """

    trained: tuple[str, ...] = ()
    start: Start = "gaussian"
    student_mode: Mode = "eval"
    clean_first: bool = False

    def inner(self, batch: Batch) -> Objective | None:
        """Return the attack's objective, x' `[B, C, H, W]` to `[B]`; compute what does not depend on x' outside of it.

        Returns:
            the objective, or `None` for a method that trains without an attack.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner().")

    def craft(self, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
        """Return the adversarial images: by default, the attack maximises `inner` from its random start.

        Override this method for several x', for other objectives, or for an eps per image (`attack.within(eps)`). It
        runs under `no_grad`; `attack` turns gradients on for its objective.

        Args:
            attack: called as `attack(objective, batch.x, batch.rng)`.

        Returns:
            x' `[B, C, H, W]`, or several by name: the first is `batch.x_adv` in `outer`, all are `batch.adversarial`.
        """
        objective = self.inner(batch)
        return batch.x if objective is None else attack(objective, batch.x, batch.rng)

    @property
    def has_own_craft(self) -> bool:
        """Whether the method overrides `craft`."""
        return type(self).craft is not Method.craft

    def __add__(self, term: Term) -> "Sum":
        if isinstance(term, Method):
            raise TypeError(
                f"{type(self).__name__} and {type(term).__name__} each choose their own adversarial examples; "
                "add a Term such as IGDM, not a Method."
            )
        return Sum(self, term)


@dataclass
class Sum(Method):
    """A method plus a term: the student minimises the losses of both; the attack is the method's."""

    base: Method
    term: Term

    def __post_init__(self) -> None:
        self.teachers = tuple(dict.fromkeys((*self.base.teachers, *self.term.teachers)))
        needed = {role for part in (self.base, self.term) for role in part.teachers if role not in part.optional}
        self.optional = tuple(role for role in self.teachers if role not in needed)
        self.released_passes = tuple(name for part in self.parts for name in part.released_passes)
        self.trained, self.start, self.student_mode = self.base.trained, self.base.start, self.base.student_mode
        self.clean_first = self.base.clean_first
        self.own_teacher = self.base.own_teacher  # type: ignore[misc]  # set on this instance only

    @property
    def parts(self) -> list[Term]:
        return [*self.base.parts, *self.term.parts]

    def fresh(self) -> Self:
        return type(self)(self.base.fresh(), self.term.fresh())

    def inner(self, batch: Batch) -> Objective | None:
        return self.base.inner(batch)

    def craft(self, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
        return self.base.craft(batch, attack)

    def layers(self) -> Mapping[str, Sequence[str]]:
        ours, theirs = self.base.layers(), self.term.layers()
        return {role: tuple(dict.fromkeys((*ours.get(role, ()), *theirs.get(role, ())))) for role in {**ours, **theirs}}

    def modules(self, batch: Batch) -> Mapping[str, nn.Module]:
        ours, theirs = self.base.modules(batch), self.term.modules(batch)
        self._check_names("module", ours, theirs)
        return {**ours, **theirs}

    def parameter_group(self, name: str, settings: Mapping[str, Any], progress: float) -> Mapping[str, Any]:
        return self.term.parameter_group(name, self.base.parameter_group(name, settings, progress), progress)

    def after_step(self, student: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        for part in self.parts:
            part.after_step(student, modules)

    def end_epoch(self, rate: float) -> None:
        for part in self.parts:
            part.end_epoch(rate)

    def figures(self) -> dict[str, float]:
        return {name: value for part in self.parts for name, value in part.figures().items()}

    @property
    def has_own_craft(self) -> bool:
        return self.base.has_own_craft

    def outer(self, batch: Batch) -> Losses:
        losses, more = self.base.outer(batch), self.term.outer(batch)
        self._check_names("loss", losses, more)
        return losses | more

    def _check_names(self, what: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
        if shared := ours.keys() & theirs.keys():
            raise ValueError(
                f"{type(self.base).__name__} and {type(self.term).__name__} both have a {what} called "
                f"{min(shared)!r}; take one of them."
            )
