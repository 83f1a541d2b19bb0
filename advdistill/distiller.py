"""The loss of one training step: attack the student, compare it with its teachers."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn

from ._internal.checks import check_fit
from ._internal.modes import in_mode
from ._internal.rng import Rng
from .acceleration.cuda_graph import CudaGraphs, Tensors
from .acceleration.frozen import FrozenCopies
from .acceleration.teacher_extrapolation import Extrapolated
from .attacks import PGD, CustomAttack
from .attacks.pgd import Objective
from .methods import Batch, Method
from .methods.batch import Network
from .methods.cost import check_teacher_every

__all__ = ["FLAGS", "Distiller"]

Climb = Callable[[Objective, Tensor, Tensor], Tensor]
FLAGS = {"robust": "--teacher", "clean": "--clean-teacher"}  # of the command line, for the roles that have one


class Distiller:
    """A method with its teachers and its attack, usable in any training loop.

    Teachers are frozen and in eval mode. Those that train along (`method.trained`) are not: give their parameters to
    your optimiser as well, and call `method.end_epoch` after each epoch.

    Args:
        method: e.g. `AdaAD() + IGDM(weight=5)`.
        teacher: the robust teacher T, images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        clean_teacher: the teacher of clean accuracy N, likewise.
        attack: the training attack, a `PGD` or a `CustomAttack`; start and student mode are the method's unless given.
        peer: a network like the student, not yet trained, for methods that train one along.
        teachers: networks by role, in place of the three arguments above, and for roles of your own methods.
        label_mixing: share m of the label in a frozen teacher's output: log((1 - m) softmax(T) + m onehot(y)).
        fast: attack folded copies of this dtype, fp32 or bf16, and query frozen teachers through theirs; `None` for the
            networks themselves. A student that is attacked in train mode cannot be folded.
        compiled: with `fast`, compile those copies too, and on CUDA capture the whole attack on them as one graph, see
            `Frozen` and `CudaGraphs`.
        teacher_every: in the attack, run frozen teachers at every k-th step only, see `Extrapolated`; `None` for every
            step. For methods whose attack queries a frozen teacher at x', such as AdaAD. The losses are unchanged.

    Raises:
        ValueError: a teacher that the method needs is missing, or `teacher_every` has no effect; at the first batch,
            images outside [0, 1], labels outside the classes, or networks that disagree about the classes.

    Example:
        >>> import torch
        >>> from advdistill import Distiller, Linf, PGD, RSLAD, models
        >>> student, teacher = (models.create("convnet-2", 10, 1) for _ in range(2))
        >>> distiller = Distiller(RSLAD(), teacher, attack=PGD(steps=2, step_size=0.1, threat=Linf(0.2)))
        >>> x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
        >>> distiller(student, x, y).backward()  # attacks the student, then compares it with the teacher
        >>> batch = distiller.craft(student, x, y)  # the same in two steps: first x', then the losses by name
        >>> batch.x_adv.shape, {name: loss.shape for name, loss in distiller.losses(batch, student).items()}
        (torch.Size([4, 1, 8, 8]), {'adv': torch.Size([4]), 'clean': torch.Size([4])})
    """

    def __init__(
        self,
        method: Method,
        teacher: nn.Module | None = None,
        clean_teacher: nn.Module | None = None,
        attack: PGD | CustomAttack | None = None,
        *,
        peer: nn.Module | None = None,
        teachers: Mapping[str, nn.Module] | None = None,
        label_mixing: float = 0.0,
        fast: torch.dtype | None = None,
        compiled: bool = False,
        teacher_every: int | None = None,
    ):
        given = {"robust": teacher, "clean": clean_teacher, "peer": peer, **(teachers or {})}
        self.teachers: dict[str, nn.Module] = {}
        for role in method.teachers:
            if (network := given.get(role)) is None:
                hint = f"{role}, a module like the student" if role in method.trained else f"teachers={{{role!r}: ...}}"
                what = f"needs a {role} teacher (of {' and '.join(method.teachers)}); it is missing"
                raise ValueError(f"{type(method).__name__} {what}. Give {FLAGS.get(role, hint)}.")
            self.teachers[role] = network
        if not 0 <= label_mixing < 1:
            raise ValueError(f"label_mixing must lie in [0, 1), got {label_mixing!r}.")
        if teacher_every is not None:
            check_teacher_every(method, teacher_every, isinstance(attack, CustomAttack))
        self.method, self.attack, self.label_mixing = method, filled(attack or PGD(), method), label_mixing
        self.fast, self.compiled, self.teacher_every = fast, compiled, teacher_every
        for role, network in self.teachers.items():
            network.train(role in method.trained).requires_grad_(role in method.trained)
        self._checked, self._graphs, self._copies = False, CudaGraphs(), FrozenCopies(fast, compiled)

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The teachers that train along, by role."""
        return {role: self.teachers[role] for role in self.method.trained}

    def __call__(
        self, student: nn.Module, x: Tensor, y: Tensor, *, progress: float = 1.0, rng: Rng | None = None
    ) -> Tensor:
        """The loss of one batch, a scalar to call `backward()` on; arguments as in `craft`."""
        batch = self.craft(student, x, y, progress=progress, rng=rng)
        return cast(Tensor, sum(loss.mean() for loss in self.losses(batch, student).values()))

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
        """Attack the student.

        Args:
            student: images to logits `[B, K]`; its modes are as before when this returns.
            x: clean images `[B, C, H, W]` in [0, 1].
            y: labels `[B]`.
            progress: epoch / epochs, the epoch counted from 1; terms such as IGDM grow with it.
            rate: factor of the learning rate's schedule, for methods with a state of their own.
            total: sum over the images of all processes, where there are several; see `Batch`.
            rng: draws the attack's start; `None` uses torch's global generator.

        Returns:
            The batch with its x', `batch.x_adv`.

        Raises:
            ValueError: as `check`, at the first batch.
        """
        if not self._checked:
            self.check(student, x, y)
        evaluated = self.attack.student_mode == "eval"
        attacked = self._copies("student", student, changes=True) if evaluated else student
        batch = Batch(x, y, attacked, self._views(self._up_to_date(), y), progress, rate=rate)
        batch.total = total or batch.total
        with ExitStack() as modes:
            for network in self.trained.values():
                modes.enter_context(in_mode(network, False))
            modes.enter_context(in_mode(student, self.attack.student_mode == "train"))
            if isinstance(self.attack, CustomAttack):
                objective = self._objective(self.method, batch)
                x_adv = x if objective is None else self.attack.on(attacked, y, batch.notes)(objective, x, rng)
            else:
                start = cache(partial(self.attack.begin, x, rng))
                pgd = self.attack.climb
                x_adv = self._replayed(batch, start, pgd) if self._captures(x) else self._attacked(batch, start, pgd)
        torch.clear_autocast_cache()  # weights cast under no_grad have no gradient
        return batch.attacked(x_adv, student)

    def losses(
        self, batch: Batch, student: nn.Module, trained: Mapping[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """The method's named losses, `[B]` each; their means add up to the loss.

        Args:
            batch: from `craft`.
            student: what descends: the attacked student, or a module around it such as DDP's.
            trained: modules around the teachers that train along, by role.
        """
        return self.method.outer(batch.attacked(batch.x_adv, student, {**self.trained, **(trained or {})}))

    def _captures(self, x: Tensor) -> bool:
        return self.compiled and self.fast is not None and self.attack.student_mode == "eval" and x.is_cuda

    def _attacked(self, batch: Batch, start: Callable[[], Tensor], pgd: Climb) -> Tensor:
        objective = self._objective(self.method, batch)
        return batch.x if objective is None else pgd(objective, batch.x, start())

    def _objective(self, method: Method, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        with torch.no_grad():
            return method.inner(self._extrapolated(batch))

    def _replayed(self, batch: Batch, start: Callable[[], Tensor], pgd: Climb) -> Tensor:
        """As `_attacked`, by a CUDA graph of all its steps, whose inputs are all that changes from batch to batch."""
        copies = self._copies.by_role
        given: Tensors = {"x": batch.x, "y": batch.y, "start": start()}
        given |= {name: torch.full((), getattr(batch, name), device=batch.x.device) for name in ("progress", "rate")}
        given |= {(at, name): part.state[name] for at, part in enumerate(self.method.parts) for name in part.state}

        def climb(given: Tensors) -> Tensors:
            x, y, begin, progress, rate = (given[name] for name in ("x", "y", "start", "progress", "rate"))
            inputs = Batch(x, y, copies["student"], self._views(copies, y), progress, rate=rate, total=_refuse_total)
            method = self.method.fresh()
            for at, (part, original) in enumerate(zip(method.parts, self.method.parts, strict=True)):
                part.state = {name: given[at, name] for name in original.state}
            objective = self._objective(method, inputs)
            x_adv = x if objective is None else pgd(objective, x, begin)
            return {"x_adv": x_adv, **inputs.computed}

        found = self._graphs(climb, given, *copies.values())
        if found is None:
            return self._attacked(batch, start, pgd)
        x_adv = found.pop("x_adv")
        batch.reuse(found)
        return x_adv

    def _up_to_date(self) -> dict[str, nn.Module]:
        """The teachers by role: with `fast`, their copies, with the current weights."""
        return {role: self._copies(role, net, role in self.method.trained) for role, net in self.teachers.items()}

    def _views(self, teachers: Mapping[str, nn.Module], y: Tensor) -> dict[str, Network]:
        """The teachers as the method sees them, labels mixed into the frozen ones."""
        frozen = teachers.keys() - self.method.trained if self.label_mixing else set()
        return {**teachers, **{role: partial(mixed, teachers[role], y, self.label_mixing) for role in frozen}}

    def _extrapolated(self, batch: Batch) -> Batch:
        """The batch for the attack; with `teacher_every`, its frozen teachers are extrapolated between their runs."""
        if self.teacher_every is None:
            return batch
        frozen = batch.teachers.keys() - self.trained.keys()
        extrapolated = {role: Extrapolated(batch.teachers[role], self.teacher_every) for role in frozen}
        return replace(batch, teachers=batch.teachers | extrapolated)

    def check(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Raise ValueError where images, labels, student and teachers do not fit; `craft` does at its first batch."""
        check_fit(student, self.teachers, x, y)
        if isinstance(self.attack, CustomAttack):
            self.attack.try_on(student, x, y)
        self._checked = True


def mixed(network: nn.Module, y: Tensor, share: float, x: Tensor) -> Tensor:
    """Logits of (1 - share) softmax(network(x)) + share onehot(y), `[B, K]`."""
    log_p = network(x).log_softmax(1)
    label = torch.zeros_like(log_p).scatter_(1, y[:, None], share)
    return ((1 - share) * log_p.exp() + label).clamp(min=torch.finfo(log_p.dtype).tiny).log()


def _refuse_total(values: Tensor) -> Tensor:
    raise RuntimeError("it asks for a sum over the images of all processes.")


def filled(attack: PGD | CustomAttack, method: Method) -> PGD | CustomAttack:
    """The attack, with the method's start and student mode where it has none of its own."""
    mode = attack.student_mode or method.student_mode
    if isinstance(attack, CustomAttack):
        return replace(attack, student_mode=mode)
    return replace(attack, start=attack.start or method.start, student_mode=mode)
