"""One step's loss: attack the student, compare it with its teachers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from .attacks import PGD
from .methods import Batch, Method
from .rng import Rng

__all__ = ["Distiller"]


class Distiller:
    """A method with its teachers and its attack, usable in anybody's training loop.

    Args:
        method: e.g. `AdaAD() + IGDM(weight=5)`.
        teacher: the robust teacher T; frozen and put in eval mode.
        clean_teacher: the teacher of clean accuracy N; likewise.
        attack: what the method leaves open (start, student mode) is filled in from the method.

    Raises:
        ValueError: a teacher that the method needs is missing; at the first batch, images outside [0, 1], labels
            outside the classes, or networks that disagree about the classes.
    """

    def __init__(
        self,
        method: Method,
        teacher: nn.Module | None = None,
        clean_teacher: nn.Module | None = None,
        attack: PGD | None = None,
    ):
        given = {"robust": teacher, "clean": clean_teacher}
        for role in method.teachers:
            if given[role] is None:
                flag = {"robust": "--teacher", "clean": "--clean-teacher"}[role]
                raise ValueError(
                    f"{type(method).__name__} needs a {role} teacher (of {' and '.join(method.teachers)}); "
                    f"it is missing. Give {flag}."
                )
        self.method = method
        self.teachers = {role: given[role].eval().requires_grad_(False) for role in method.teachers}
        self.attack = filled(attack or PGD(), method)
        self._checked = False

    def __call__(self, student: nn.Module, x: Tensor, y: Tensor, *, progress: float = 1.0, rng: Rng | None = None):
        """The loss of one batch, a scalar to call `backward()` on; arguments as in `losses`."""
        return sum(loss.mean() for loss in self.losses(student, x, y, progress=progress, rng=rng).values())

    def losses(
        self,
        student: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        progress: float = 1.0,
        rate: float = 1.0,
        mean: Callable[[Tensor], Tensor] = torch.mean,
        rng: Rng | None = None,
        attacked: nn.Module | None = None,
    ) -> dict[str, Tensor]:
        """The method's named losses, `[B]` each; their means add up to the loss.

        Args:
            student: images to logits `[B, K]`; its modes are as before when this returns.
            x: clean images `[B, C, H, W]` in [0, 1].
            y: labels `[B]`.
            progress: epoch / epochs, the epoch counted from 1; terms such as IGDM grow with it.
            rate: factor of the learning rate's schedule, for methods with a state of their own.
            mean: over the images of all processes, where there are several.
            rng: draws of the attack's start; `None` takes torch's global generator.
            attacked: the network to attack in the student's place, sharing its weights: the bare module under DDP.
        """
        if not self._checked:
            self.check(attacked or student, x, y)
        batch = Batch(x, y, attacked or student, self.teachers, progress, rate=rate, mean=mean)
        x_adv = self._attack(batch, attacked or student, rng)
        torch.clear_autocast_cache()  # weights it cast under no_grad would cut the student's gradient
        return self.method.outer(batch.attacked(x_adv, student))

    def _attack(self, batch: Batch, student: nn.Module, rng: Rng | None) -> Tensor | None:
        with in_mode(student, self.attack.student_mode == "train"):
            with torch.no_grad():
                objective = self.method.inner(batch)
            return None if objective is None else self.attack(objective, batch.x, rng)

    def check(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Raise ValueError where images, labels, student and teachers do not fit together; done at the first batch."""
        check_images(x)
        classes = _classes("student", student, x)
        for role, teacher in self.teachers.items():
            if (known := _classes(f"{role} teacher", teacher, x)) != classes:
                raise ValueError(f"The {role} teacher has {known} classes, the student {classes}.")
        check_labels(y, classes)
        self._checked = True


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
