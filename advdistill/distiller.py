"""One step's loss: attack the student, compare it with its teachers."""

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
from .acceleration.cuda_graph import Graphs, Tensors
from .acceleration.frozen import Frozen
from .acceleration.teacher_extrapolation import Extended
from .attacks import PGD
from .methods import Batch, Method
from .methods.batch import Network
from .methods.cost import STEPS, passes

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
        compiled: with `fast`, compile those copies too, and on CUDA record the whole attack on them as one graph, see
            `Frozen` and `Graphs`.
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
        self.teachers: dict[str, nn.Module] = {}
        for role in method.teachers:
            if (network := given[role]) is None:
                raise ValueError(
                    f"{type(method).__name__} needs a {role} teacher (of {' and '.join(method.teachers)}); "
                    f"it is missing. Give {GIVE[role]}."
                )
            self.teachers[role] = network
        if not 0 <= label_mixing < 1:
            raise ValueError(f"label_mixing must lie in [0, 1), got {label_mixing!r}.")
        if teacher_every is not None:
            check_spared(method, teacher_every)
        self.method, self.label_mixing, self.teacher_every = method, label_mixing, teacher_every
        self.fast, self.compiled = fast, compiled
        for role, network in self.teachers.items():
            network.train(role in method.trained).requires_grad_(role in method.trained)
        self.attack = filled(attack or PGD(), method)
        self._checked, self._graphs = False, Graphs()
        self._copies: dict[str, tuple[nn.Module, Frozen]] = {}

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
        batch = Batch(x, y, attacked, self._views(self._up_to_date(), y), progress, rate=rate)
        batch.total = total or batch.total
        with ExitStack() as modes:
            for network in self.trained.values():
                modes.enter_context(in_mode(network, False))
            modes.enter_context(in_mode(student, self.attack.student_mode == "train"))
            start = cache(partial(self.attack.begin, x, rng))
            x_adv = self._replayed(batch, start) if self._records(x) else self._attacked(batch, start)
        torch.clear_autocast_cache()  # weights it cast under no_grad would cut the student's gradient
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

    def _records(self, x: Tensor) -> bool:
        return self.compiled and self.fast is not None and self.attack.student_mode == "eval" and x.is_cuda

    def _attacked(self, batch: Batch, start: Callable[[], Tensor]) -> Tensor:
        objective = self._objective(self.method, batch)
        return batch.x if objective is None else self.attack.climb(objective, batch.x, start())

    def _objective(self, method: Method, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        with torch.no_grad():
            return method.inner(self._spared(batch))

    def _replayed(self, batch: Batch, start: Callable[[], Tensor]) -> Tensor:
        """As `_attacked`, by a graph of all its steps; what changes from batch to batch is given to that as tensors."""
        copies = {role: copy for role, (_, copy) in self._copies.items()}
        given: Tensors = {"x": batch.x, "y": batch.y, "start": start()}
        given |= {name: torch.full((), getattr(batch, name), device=batch.x.device) for name in ("progress", "rate")}
        given |= {(at, name): part.state[name] for at, part in enumerate(self.method.parts) for name in part.state}

        def climb(given: Tensors) -> Tensors:
            x, y, begin, progress, rate = (given[name] for name in ("x", "y", "start", "progress", "rate"))
            alike = Batch(x, y, copies["student"], self._views(copies, y), progress, rate=rate, total=_unknown)
            method = self.method.fresh()
            for at, (part, own) in enumerate(zip(method.parts, self.method.parts, strict=True)):
                part.state = {name: given[at, name] for name in own.state}
            objective = self._objective(method, alike)
            x_adv = x if objective is None else self.attack.climb(objective, x, begin)
            return {"x_adv": x_adv, **alike.computed}

        found = self._graphs(climb, given, *copies.values())
        if found is None:
            return self._attacked(batch, start)
        x_adv = found.pop("x_adv")
        batch.reuse(found)
        return x_adv

    def _up_to_date(self) -> dict[str, nn.Module]:
        """The teachers by role, as the attack sees them now."""
        return {role: self._copy(role, network, role in self.method.trained) for role, network in self.teachers.items()}

    def _views(self, teachers: Mapping[str, nn.Module], y: Tensor) -> dict[str, Network]:
        """What a batch with these labels hears of them."""
        frozen = teachers.keys() - self.method.trained if self.label_mixing else set()
        return {**teachers, **{role: partial(mixed, teachers[role], y, self.label_mixing) for role in frozen}}

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
        if copy is None or copied is not network:
            copy = Frozen(network, self.fast, self.compiled)
            self._copies[role] = network, copy
        elif changes:
            copy.refresh(network)
        return copy

    def check(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Raise ValueError where images, labels, student and teachers do not fit together; done at the first batch."""
        check_fit(student, self.teachers, x, y)
        self._checked = True


def mixed(network: nn.Module, y: Tensor, share: float, x: Tensor) -> Tensor:
    """Logits of (1 - share) softmax(network(x)) + share onehot(y), `[B, K]`."""
    log_p = network(x).log_softmax(1)
    label = torch.zeros_like(log_p).scatter_(1, y[:, None], share)
    return ((1 - share) * log_p.exp() + label).clamp(min=torch.finfo(log_p.dtype).tiny).log()


def _unknown(values: Tensor) -> Tensor:
    raise RuntimeError("it asks for a sum over the images of all processes.")


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
