"""What a method is: the pair of `inner`, which an attack climbs, and `outer`, which a student descends."""

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
    """Losses that a student descends; added to a method with `+`. Subclasses are dataclasses of their coefficients.

    Attributes:
        teachers: roles of the teachers it uses: `robust`, `clean`, `peer`, or names of your own.
        optional: which of these roles may be missing; `batch.teachers` then lacks them.
        released_passes: `clean` or `adv`, images that the released code forwards besides; see `Recipe.passes`.
        caution: a warning for teachers that are not robust, where such a teacher does harm.
        state: tensors by name that training changes in a method; see `Memory`.
        own_teacher: for a method that teaches itself: why a robust teacher beside it is refused.

    Raises:
        ValueError: a coefficient that is annotated `float` is negative or not finite, or a temperature is 0.
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
        """The method and the terms that are added up."""
        return [self]

    def fresh(self) -> Self:
        """A copy with the same coefficients and an empty `state`."""
        return replace(self)

    def outer(self, batch: Batch) -> Losses:
        """Named losses, `[B]` each, that the student descends. Called once a step; it may change `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no outer().")

    def after_step(self, student: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        """Called after each step of the optimiser with the student and what `modules` made, for averages of weights."""

    def end_epoch(self, rate: float) -> None:
        """Called after the last step of an epoch, with the schedule's factor at the next one; it may change `state`."""

    def figures(self) -> dict[str, float]:
        """Figures of `state` by name; written to the metrics after every epoch."""
        return {}

    def layers(self) -> Mapping[str, Sequence[str]]:
        """By role (`student` too), the names of the layers that `batch.features` is asked for."""
        return {}

    def modules(self, batch: Batch) -> Mapping[str, nn.Module]:
        """Small networks that train along with the student, such as connectors; they are `batch.modules`.

        They are saved and resumed with the run, and are not part of the student that is saved and exported.

        Args:
            batch: two training images and the networks in eval mode, for reading the shapes of features.
        """
        return {}

    def parameter_group(self, name: str, settings: Mapping[str, Any], progress: float) -> Mapping[str, Any]:
        """The optimiser's settings at this step for what trains along; the student's unless a method overrides it.

        Args:
            name: role of a teacher that trains along, or name of a module.
            settings: the student's at this step: lr, weight_decay and what else the optimiser has.
            progress: share of the training that is done, in [0, 1].
        """
        return settings


class Method(Term):
    """An attack climbs `inner`, a student descends `outer`.

    Attributes:
        trained: roles of the teachers that train along: eval mode in the attack, train mode in `outer`, whose losses
            they descend too.
        start: how its attack starts, see `PGD`.
        student_mode: mode of the student while it is attacked, `eval` or `train`.
        clean_first: the running statistics of a student attacked in eval mode are those after a forward pass of x in
            train mode, because the release computes S(x) before the attack.

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
        """The objective of the attack, x' `[B, C, H, W]` to `[B]`; compute what does not depend on x' outside of it.

        Returns:
            the objective, or `None` for a method that trains without an attack.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inner().")

    def craft(self, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
        """The adversarial images: by default the attack climbs `inner` from its random start.

        Override it for several x', another objective in between, or an eps of each image (`attack.within(eps)`). It
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
        """Whether it overrides `craft`."""
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
    """A method with a term added to what the student descends; the attack stays the method's."""

    base: Method
    term: Term

    def __post_init__(self) -> None:
        self.teachers = tuple(dict.fromkeys((*self.base.teachers, *self.term.teachers)))
        needed = {role for part in (self.base, self.term) for role in part.teachers if role not in part.optional}
        self.optional = tuple(role for role in self.teachers if role not in needed)
        self.released_passes = tuple(name for part in self.parts for name in part.released_passes)
        self.trained, self.start, self.student_mode = self.base.trained, self.base.start, self.base.student_mode
        self.clean_first = self.base.clean_first
        self.own_teacher = self.base.own_teacher  # type: ignore[misc]  # of this sum alone

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
