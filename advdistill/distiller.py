"""The loss of one training step: attack the student, then compare it with its teachers."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ._internal.adapter import Logits, require_gradients_
from ._internal.checks import check_adversarial, check_distributions, check_fit, class_labels
from ._internal.modes import after_forward, in_mode
from ._internal.rng import Rng
from .acceleration.cuda_graph import CudaGraphs
from .acceleration.frozen import FrozenCopies
from .attacks import PGD, CustomAttack
from .attacks.base import naming
from .attacks.training import OnBatch
from .methods import Batch, Method
from .methods.cost import check_teacher_every
from .methods.crafting import check_attack, compute_x_adv, extrapolated, is_cheaper, remember_last
from .methods.labels import check_labels, labels_used
from .methods.networks import NetworkWrappers
from .methods.registry import as_method
from .methods.replay import replayed
from .methods.roles import check_layers, check_roles, name_of, teachers_of

__all__ = ["Distiller"]


class Distiller:
    """A method with its teachers and its attack, usable in any training loop.

    Teachers are frozen and in eval mode, except those trained with the student (`method.trained`): give the parameters
    of these, and of `modules` after `prepare`, to your optimiser as well. Call `method.end_epoch` after each epoch.

    Args:
        method: e.g. `AdaAD() + IGDM(weight=5)`, or by name, "adaad+igdm".
        teacher: the robust teacher T, images `[B, C, H, W]` in [0, 1] to logits `[B, K]`, see `logits_of`.
        clean_teacher: the teacher N for clean accuracy, likewise.
        attack: the training attack, a `PGD` or a `CustomAttack`; start and student mode default to the method's.
        peer: an untrained network like the student, for methods that train a peer with the student.
        teachers: networks by role, in place of `teacher` (role `robust`), `clean_teacher` (`clean`) and `peer`, and
            for roles of your own methods.
        label_mixing: share m of the label in a frozen teacher's output: log((1 - m) softmax(T) + m onehot(y)).
        fast: use folded copies of this dtype, fp32 or bf16, of the student in the attack and of frozen teachers; `None`
            uses the networks themselves. A student that is attacked in train mode cannot be folded.
        compiled: with `fast`, also compile the copies, and on CUDA capture the whole attack as one graph, see `Frozen`
            and `CudaGraphs`.
        teacher_every: in the attack, run frozen teachers only at every k-th step, see `Extrapolated`; `None` for every
            step. For methods whose attack queries a frozen teacher at x', such as AdaAD. The losses are unchanged.

    Attributes:
        modules: small networks that the method trains with the student, by name; created by `prepare`.

    Raises:
        ValueError: a teacher that the method needs is missing, `teachers` has a role that the method does not use, or
            `teacher_every` has no effect; at the first batch, as in `prepare`.

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
        method: Method | str,
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
        check_roles(method := as_method(method), teachers or {})
        given = {"robust": teacher, "clean": clean_teacher, "peer": peer, **(teachers or {})}
        self.teachers = teachers_of(method, {role: network for role, network in given.items() if network is not None})
        if teacher_every is not None:
            check_teacher_every(method, teacher_every, isinstance(attack, CustomAttack))
        self.method, self.attack = method, (attack or PGD()).filled(method.start, method.student_mode)
        self.fast, self.compiled, self.teacher_every = fast, compiled, teacher_every
        check_attack(self.method, self.attack, compiled, teacher_every)
        for role, network in self.teachers.items():
            require_gradients_(network.train(role in method.trained), role in method.trained)
        self.modules, self._prepared = dict[str, nn.Module](), False
        self._views = NetworkWrappers(method.trained, method.layers(), label_mixing)
        self._copies, self._graphs = FrozenCopies(fast, compiled, self._views.layers), CudaGraphs()

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The teachers trained with the student, by role."""
        return {role: self.teachers[role] for role in self.method.trained if role in self.teachers}

    def __call__(
        self, student: nn.Module, x: Tensor, y: Tensor, *, progress: float = 1.0, rng: Rng | None = None
    ) -> Tensor:
        """Return the loss of one batch, a scalar to call `backward()` on; arguments as in `craft`."""
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
        index: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Batch:
        """Attack the student.

        Args:
            student: images to logits `[B, K]`; its train or eval mode is restored afterwards.
            x: clean images `[B, C, H, W]` in [0, 1].
            y: labels `[B]`, of any integer type.
            progress: epoch / epochs, with epochs counted from 1; terms such as IGDM grow with it.
            rate: current factor of the learning-rate schedule, for methods that update a state of their own.
            total: function that sums over the images of all processes, if there are several; see `Batch`.
            rng: random numbers for the attack's start and the method; `None` seeds one from torch's global generator.
            index: indices of the images in the training split, `[B]`, for methods that store a value for each image.
            targets: distributions over the classes `[B, K]` in place of the labels, for mixed images.

        Returns:
            The batch with its x', `batch.x_adv`.

        Raises:
            ValueError: at the first batch, as in `prepare`; or a method's own `craft` does not return images like x.
        """
        y = class_labels(y, x)
        if first := not self._prepared:
            self.prepare(student, x, y)
        if targets is None or targets is y:
            targets = y
        elif first:
            check_distributions(targets, y)
            used, stop = self.labels_used(student, x, targets), getattr(self.attack, "stop_after", None)
            check_labels(used, name_of(self.method), mixed="targets", stop_after=stop)
        evaluated, rng = self.attack.student_mode == "eval", rng or Rng(int(torch.randint(2**62, ())), device=x.device)
        with ExitStack() as modes:
            modes.enter_context(after_forward(student, x) if evaluated and self.method.clean_first else nullcontext())
            attacked = self._copies("student", student, changes=True) if evaluated else student
            batch = Batch(
                x, y, self._views.recording("student", attacked, x),
                self._views.teachers(self._up_to_date(), x, targets), progress, rate=rate, targets=targets,
                threat=self.attack.threat, rng=rng, index=index, modules=self.modules,
            )  # fmt: skip
            batch.total = total or batch.total
            for network in (*self.trained.values(), *self.modules.values()):
                modes.enter_context(in_mode(network, False))
            modes.enter_context(in_mode(student, self.attack.student_mode == "train"))
            attack = self.attack.on(Logits(attacked, "student"), y, batch.notes)
            if isinstance(attack, PGD) and self._captures(x):
                x_adv = self._replayed(batch, attack)
            else:
                x_adv = self._crafted(batch, attack)
        torch.clear_autocast_cache()  # weights cast under no_grad have no gradient
        check_adversarial(x_adv, x, first)
        return batch.attacked(x_adv, student)

    def losses(
        self, batch: Batch, student: nn.Module, trained: Mapping[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """Return the method's named losses, `[B]` each; their means add up to the loss.

        Args:
            batch: from `craft`.
            student: the network to train: the attacked student, or a wrapper around it such as DDP.
            trained: wrappers around the teachers trained with the student, by role.
        """
        along = {**self.trained, **(trained or {})}
        recorded = {role: self._views.recording(role, network, batch.x) for role, network in along.items()}
        descending = self._views.recording("student", student, batch.x)
        attacked = batch.attacked(batch.adversarial or batch.x_adv, descending, recorded)
        attacked.rng = batch.rng.child("outer")
        remember_last(self.method, self.attack, attacked)
        return self.method.outer(attacked)

    def _captures(self, x: Tensor) -> bool:
        plain = not (self._views.layers or self.modules or self.method.has_own_craft or is_cheaper(self.attack))
        return plain and self.compiled and self.fast is not None and self.attack.student_mode == "eval" and x.is_cuda

    def _crafted(self, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
        with torch.no_grad(), naming(attack):
            return compute_x_adv(self.method, self._extrapolated(batch), attack)

    def _replayed(self, batch: Batch, pgd: PGD) -> Tensor | dict[str, Tensor]:
        """Like `_crafted`, by a CUDA graph of all attack steps."""
        found = replayed(self._graphs, self.method, batch, pgd, self._copies.by_role, self._views, self._extrapolated)
        return self._crafted(replace(batch, rng=batch.rng.child()), pgd) if found is None else found  # same draws

    def _up_to_date(self) -> dict[str, nn.Module]:
        """Return the teachers by role; with `fast`, their copies with the current weights."""
        return {role: self._copies(role, net, role in self.method.trained) for role, net in self.teachers.items()}

    def _extrapolated(self, batch: Batch) -> Batch:
        """Return the batch for the attack; with `teacher_every`, frozen teachers are extrapolated between runs."""
        frozen = batch.teachers.keys() - self.trained.keys() - self._views.layers.keys()
        return extrapolated(batch, frozen, self.teacher_every)

    def prepare(self, student: nn.Module, x: Tensor, y: Tensor) -> None:
        """Check that images, labels and networks fit, and create the method's `modules`; the first `craft` calls this.

        Args:
            x: training images `[B, C, H, W]` in [0, 1], at least two.
            y: labels `[B]`.

        Raises:
            ValueError: images outside [0, 1], labels outside the classes, networks with different numbers of classes,
                or a layer that a network does not have.
        """
        check_fit(student, self.teachers, x, y := class_labels(y, x))
        check_layers(self.method, self._views.layers, networks := {"student": student, **self.teachers})
        with ExitStack() as modes, torch.no_grad():
            for network in networks.values():
                modes.enter_context(in_mode(network, False))
            made = self.method.modules(self._plain(student, x, y))
        self.modules = {name: module.to(x.device) for name, module in made.items()}
        if isinstance(self.attack, CustomAttack):
            self.attack.try_on(Logits(student, "student"), x, y)
        self._prepared = True

    def labels_used(self, student: nn.Module, x: Tensor, targets: Tensor) -> set[str]:
        """Return which of a batch's `y` and `targets` the method uses. Needs `prepare`, and `targets` `[B, K]`."""
        with ExitStack() as modes, torch.no_grad():
            for network in (student, *self.teachers.values(), *self.modules.values()):
                modes.enter_context(in_mode(network, False))
            return labels_used(self.method, self._plain(student, x, targets.argmax(1), targets))

    def _plain(self, student: nn.Module, x: Tensor, y: Tensor, targets: Tensor | None = None) -> Batch:
        """Return a batch of two images with the networks themselves, not copies."""
        views = self._views.teachers(self.teachers, x, (y if targets is None else targets)[:2])
        batch = Batch(x[:2], y[:2], self._views.recording("student", student, x), views, modules=self.modules)
        return batch if targets is None else replace(batch, targets=targets[:2], index=torch.arange(len(x[:2])).to(y))
