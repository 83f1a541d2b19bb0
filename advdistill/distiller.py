"""One step's loss: attack the student, compare it with its teachers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from .attacks import PGD
from .frozen import Frozen
from .linear import Extended
from .methods import Batch, Method
from .methods.cost import STEPS, passes
from .rng import Rng

__all__ = ["Distiller"]

GIVE = {"robust": "--teacher", "clean": "--clean-teacher", "peer": "peer, a module like the student"}


class Distiller:
    """A method with its teachers and its attack, usable in anybody's training loop.

    Teachers are frozen and in eval mode. Those that train along (`method.trained`) are not: give their parameters to
    your optimiser as well, and call `method.end_epoch` after each epoch.

    Args:
        method: e.g. `AdaAD() + IGDM(weight=5)`.
        teacher: the robust teacher T.
        clean_teacher: the teacher of clean accuracy N.
        attack: what the method leaves open (start, student mode) is filled in from the method.
        peer: a network like the student that begins with it.
        label_mixing: share m of the label in a frozen teacher's answer: log((1 - m) softmax(T) + m onehot(y)).
        fast: attack folded copies of this dtype, fp32 or bf16, and ask frozen teachers through theirs; `None` for the
            networks themselves. A student that is attacked in train mode cannot be folded.
        compiled: with `fast`, compile those copies too, see `Frozen`.
        teacher_every: in the attack, run frozen teachers at every k-th step only, see `linear.Extended`; `None` for
            every step. For methods whose attack asks a frozen teacher at x', such as AdaAD. The losses are unchanged.

    Raises:
        ValueError: a teacher that the method needs is missing, or `teacher_every` spares nothing; at the first batch,
            images outside [0, 1], labels outside the classes, or networks that disagree about the classes.
    """

    def __init__(
        self,
        method: Method,
        teacher: nn.Module | None = None,
        clean_teacher: nn.Module | None = None,
        attack: PGD | None = None,
        *,
        peer: nn.Module | None = None,
        label_mixing: float = 0.0,
        fast: torch.dtype | None = None,
        compiled: bool = False,
        teacher_every: int | None = None,
    ):
        given = {"robust": teacher, "clean": clean_teacher, "peer": peer}
        for role in method.teachers:
            if given[role] is None:
                raise ValueError(
                    f"{type(method).__name__} needs a {role} teacher (of {' and '.join(method.teachers)}); "
                    f"it is missing. Give {GIVE[role]}."
                )
        if not 0 <= label_mixing < 1:
            raise ValueError(f"label_mixing must lie in [0, 1), got {label_mixing!r}.")
        if teacher_every is not None:
            check_spared(method, teacher_every)
        self.method, self.label_mixing, self.teacher_every = method, label_mixing, teacher_every
        self.fast, self.compiled = fast, compiled
        self.teachers = {role: given[role] for role in method.teachers}
        for role, network in self.teachers.items():
            network.train(role in method.trained).requires_grad_(role in method.trained)
        self.attack = filled(attack or PGD(), method)
        self._checked, self._copies = False, {}

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The teachers that train along, by role."""
        return {role: self.teachers[role] for role in self.method.trained}

    def __call__(self, student: nn.Module, x: Tensor, y: Tensor, *, progress: float = 1.0, rng: Rng | None = None):
        """The loss of one batch, a scalar to call `backward()` on; arguments as in `craft`."""
        batch = self.craft(student, x, y, progress=progress, rng=rng)
        return sum(loss.mean() for loss in self.losses(batch, student).values())

    def craft(
        self,
        student: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        progress: float = 1.0,
        rate: float = 1.0,
        total: Callable[[Tensor], Tensor] | None = None,
        rng: Rng | None = None,
    ) -> Batch:
        """Attack the student: the batch with its x'.

        Args:
            student: images to logits `[B, K]`; its modes are as before when this returns.
            x: clean images `[B, C, H, W]` in [0, 1].
            y: labels `[B]`.
            progress: epoch / epochs, the epoch counted from 1; terms such as IGDM grow with it.
            rate: factor of the learning rate's schedule, for methods with a state of their own.
            total: sum over the images of all processes, where there are several; see `Batch`.
            rng: draws of the attack's start; `None` takes torch's global generator.
        """
        if not self._checked:
            self.check(student, x, y)
        evaluated = self.attack.student_mode == "eval"
        attacked = self._copy("student", student, changes=True) if evaluated else student
        batch = Batch(x, y, attacked, self._views(y), progress, rate=rate, **({"total": total} if total else {}))
        with ExitStack() as modes:
            for network in self.trained.values():
                modes.enter_context(in_mode(network, False))
            modes.enter_context(in_mode(student, self.attack.student_mode == "train"))
            with torch.no_grad():
                objective = self.method.inner(self._spared(batch))
            x_adv = None if objective is None else self.attack(objective, x, rng)
        torch.clear_autocast_cache()  # weights it cast under no_grad would cut the student's gradient
        return batch.attacked(x_adv, student)

    def losses(
        self, batch: Batch, student: nn.Module, trained: dict[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """The method's named losses, `[B]` each; their means add up to the loss.

        Args:
            batch: from `craft`.
            student: what descends: the attacked student, or a module around it such as DDP's.
            trained: modules around the teachers that train along, by role.
        """
        return self.method.outer(batch.attacked(batch.x_adv, student, self.trained | (trained or {})))

    def _views(self, y: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
        trained = self.trained
        views = {role: self._copy(role, network, role in trained) for role, network in self.teachers.items()}
        if not self.label_mixing:
            return views
        frozen = views.keys() - trained.keys()
        return views | {role: partial(mixed, views[role], y, self.label_mixing) for role in frozen}

    def _spared(self, batch: Batch) -> Batch:
        """The batch as the attack sees it, where frozen teachers need not be run at every step."""
        if self.teacher_every is None:
            return batch
        frozen = batch.teachers.keys() - self.trained.keys()
        extended = {role: Extended(batch.teachers[role], self.teacher_every) for role in frozen}
        return replace(batch, teachers=batch.teachers | extended)

    def _copy(self, role: str, network: nn.Module, changes: bool) -> nn.Module:
        """The fast copy of a network, brought up to date if that changes from step to step."""
        if self.fast is None:
            return network
        copied, copy = self._copies.get(role, (None, None))
        if copied is not network:
            self._copies[role] = network, Frozen(network, self.fast, self.compiled)
        elif changes:
            copy.refresh(network)
        return self._copies[role][1]

    def check(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Raise ValueError where images, labels, student and teachers do not fit together; done at the first batch."""
        check_images(x)
        classes = _classes("student", student, x)
        for role, teacher in self.teachers.items():
            if (known := _classes(f"{role} teacher", teacher, x)) != classes:
                raise ValueError(f"The {role} teacher has {known} classes, the student {classes}.")
        check_labels(y, classes)
        self._checked = True


def mixed(network: nn.Module, y: Tensor, share: float, x: Tensor) -> Tensor:
    """Logits of (1 - share) softmax(network(x)) + share onehot(y), `[B, K]`."""
    log_p = network(x).log_softmax(1)
    label = torch.zeros_like(log_p).scatter_(1, y[:, None], share)
    return ((1 - share) * log_p.exp() + label).clamp(min=torch.finfo(log_p.dtype).tiny).log()


def _classes(what: str, network: nn.Module, x: Tensor) -> int:
    try:
        with torch.no_grad(), in_mode(network, False):
            return network(x[:2]).shape[1]
    except RuntimeError as error:
        raise ValueError(f"The {what} cannot take images of shape {tuple(x.shape[1:])}: {error}") from error


def filled(attack: PGD, method: Method) -> PGD:
    """The attack with the method's own start and student mode where it leaves them open."""
    return replace(
        attack, start=attack.start or method.start, student_mode=attack.student_mode or method.student_mode
    )


def check_spared(method: Method, every: int) -> None:
    """Raise ValueError unless `every` is a number of steps, and the method's attack runs a frozen teacher at each."""
    if every < 1:
        raise ValueError(f"teacher_every must be a number of attack steps, at least 1, got {every!r}.")
    counts = passes(method)
    if not any(counts.get(role, 0) >= STEPS for role in method.teachers if role not in method.trained):
        name = type(method.parts[0]).__name__
        raise ValueError(
            f"teacher_every ({every}) spares nothing: {name}'s attack asks no frozen teacher at its iterates, as "
            "AdaAD's does. Leave it out."
        )


def check_images(x: Tensor) -> None:
    """Raise ValueError unless images `[B, C, H, W]` are floats in [0, 1]."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"Images must be floats [B, C, H, W], got {x.dtype} of shape {tuple(x.shape)}.")
    low, high = x.min().item(), x.max().item()
    if not (0 <= low and high <= 1):
        raise ValueError(
            f"Images must lie in [0, 1]; this batch spans [{low:.3g}, {high:.3g}]. "
            "Normalisation belongs inside the model (`mean` and `std` of models.create)."
        )


def check_labels(y: Tensor, classes: int) -> None:
    """Raise ValueError unless labels `[B]` lie in 0 .. classes - 1."""
    if not (0 <= y.min() and y.max() < classes):
        wrong = y[(y < 0) | (y >= classes)][0].item()
        raise ValueError(f"Labels must lie in 0..{classes - 1} for {classes} classes; this batch has {wrong}.")


@contextmanager
def in_mode(network: nn.Module, train: bool) -> Iterator[None]:
    """Put a network in train or eval mode for a while; each module's own mode is restored, frozen ones included."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(train)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
