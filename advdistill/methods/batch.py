"""What a method's equations may use: images, labels, the networks, and the progress of the training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .._internal.adapter import Logits, copied, require_gradients_
from .._internal.messages import unknown
from .._internal.rng import Rng
from ..threat import Linf, Threat
from .memo import memo
from .networks import Network

__all__ = ["Batch", "Losses", "Network"]

Losses = dict[str, Tensor]  # [B] each


@dataclass
class Batch:
    """Everything that a method's equations may use.

    Attributes:
        x: clean images `[B, C, H, W]` in [0, 1].
        y: labels `[B]`, to compare with predictions or to index by; for mixed images, the label of the larger share.
        targets: the targets of cross-entropies: the labels, or distributions over the classes `[B, K]` if the recipe
            mixes images, and in `outer` also if it smooths labels.
        student: S, images to logits `[B, K]`.
        teachers: networks by role: `robust` (T), `clean` (N), `peer` (P), or any role that the method declares.
        progress: share of the training that is done, in [0, 1].
        x_adv: adversarial images `[B, C, H, W]`; equal to x until the attack has run.
        rate: current factor of the learning-rate schedule, for the rates at which a method updates its own state.
        total: function that sums `[B, ...]` over the images of the whole batch, of all processes; without gradient.
        notes: tensors that `inner` records during the attack for `outer`.
        adversarial: every x' that `craft` returned, by name; the first is `x_adv`.
        threat: the threat model of the training.
        rng: random numbers for the images of this batch, a function of the seed, the step and each image's position, so
            that a resumed run and any number of processes draw the same; `outer` draws others than `craft` and `inner`.
        index: indices of the images in the training split, `[B]`; `None` if the training loop does not pass them.
        modules: the networks that `Term.modules` created, by name.
        released: whether batch-norm's running statistics are updated by the same passes as in the released code.
        trial: whether these losses are the first pass of weight perturbation, in which `Term.remember` stores nothing.

    A network runs once per constant image tensor, however often an equation uses its output:

        >>> import torch
        >>> from advdistill import Batch
        >>> x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> batch = Batch(x, y, student=lambda x: x.flatten(1)[:, :10], teachers={"robust": lambda x: x.flatten(1)})
        >>> batch.student(batch.x).shape
        torch.Size([4, 10])
        >>> batch.teacher(batch.x) is batch.teacher(batch.x)
        True
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
    adversarial: dict[str, Tensor] = field(default_factory=dict)
    threat: Threat = field(default_factory=Linf)
    rng: Rng = field(default_factory=lambda: Rng(0))
    index: Tensor | None = None
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    targets: Tensor = None  # type: ignore[assignment]  # as x_adv
    released: bool = False
    trial: bool = False

    def __post_init__(self) -> None:
        self.x_adv = self.x if self.x_adv is None else self.x_adv
        self.targets = self.y if self.targets is None else self.targets
        self.student = memo(self.student)
        self.teachers = {role: memo(teacher) for role, teacher in self.teachers.items()}

    def attacked(
        self, x_adv: Tensor | dict[str, Tensor], student: Network, trained: Mapping[str, Network] | None = None
    ) -> "Batch":
        """Return this batch with its adversarial images; the logits of frozen teachers at x are reused.

        Args:
            x_adv: adversarial images `[B, C, H, W]`, or several by name.
            student: the student in the mode in which the losses are computed.
            trained: the teachers trained with the student, in the same mode, by role.
        """
        named = x_adv if isinstance(x_adv, dict) else {"adv": x_adv}
        first = next(iter(named.values()))
        teachers = self.teachers | dict(trained or {})
        return replace(self, x_adv=first, adversarial=named, student=student, teachers=teachers)

    def taken(self, rows: Tensor) -> "Batch":
        """Return the batch of some images, `[B]` booleans; the logits at x of networks in eval mode are reused."""
        index = None if self.index is None else self.index[rows]
        x, y, x_adv, targets = (each[rows] for each in (self.x, self.y, self.x_adv, self.targets))
        x_adv = x if self.x_adv is self.x else x_adv
        part = replace(self, x=x, y=y, x_adv=x_adv, targets=targets, index=index, notes={})
        part.student = memo(self.student).taken(self.x, part.x, rows)
        part.teachers = {role: memo(network).taken(self.x, part.x, rows) for role, network in self.teachers.items()}
        return part

    def copied_student(self) -> nn.Module:
        """Return a frozen copy of the student in eval mode that outputs logits, to initialise a self-teacher.

        Raises ValueError if the student is not a module.
        """
        if (module := memo(self.student).module) is None:
            raise ValueError("The student is a plain function, which cannot be copied; a module is needed.")
        return require_gradients_(Logits(copied(module)), False).eval()

    def untracked(self, x: Tensor) -> Tensor:
        """Return the student's logits, `[B, K]`, at images that the deployed network never sees, such as x - d.

        The pass does not update batch-norm's running statistics, unless `released` is set.
        """
        return self.student(x) if self.released else memo(self.student).without_tracking(x)

    def features(self, role: str, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the outputs of a network's layers, from the same forward pass as the network's logits.

        Args:
            role: `student`, or the role of a teacher.
            x: images `[B, C, H, W]`.
            layers: names of submodules, as in `named_modules()`, that the method's `layers()` declares.

        Raises:
            ValueError: an unknown role, or a layer that is not declared.
        """
        if role != "student" and role not in self.teachers:
            raise unknown("role", role, ["student", *self.teachers])
        return memo(self.student if role == "student" else self.teachers[role]).at(x, role, layers)

    def gather(self, values: Tensor) -> Tensor:
        """Gather `[b, ...]` of this process's images into `[B, ...]` of all processes, in order; without gradient."""
        if self.rng.total in (None, len(values)):
            return values.detach()
        whole = values.new_zeros((self.rng.total, *values.shape[1:]))
        present = values.new_zeros(self.rng.total, dtype=torch.int64)  # with `accumulate` only some images are
        place = slice(self.rng.start, self.rng.start + len(values))
        whole[place], present[place] = values.detach(), 1
        return self.total(whole[None])[self.total(present[None]) > 0].to(values.dtype)

    def places(self, what: str) -> Tensor:
        """Return `index`; raise ValueError if it is `None`. `what` names the value that is stored for each image."""
        if self.index is None:
            raise ValueError(
                f"{what!r} is stored for each image, and this training loop does not pass the indices of the images "
                "(index=). Give Distiller.craft their places in the training split."
            )
        return self.index

    @property
    def computed(self) -> dict[tuple[str, str], Tensor]:
        """Results of the attack: teachers' logits at x by `("logits", role)`, notes by `("note", name)`."""
        outputs = {role: memo(teacher).outputs for role, teacher in self.teachers.items()}
        logits = {("logits", role): of[id(self.x)][1] for role, of in outputs.items() if id(self.x) in of}
        return logits | {("note", name): value for name, value in self.notes.items()}

    def reuse(self, computed: dict[tuple[str, str], Tensor]) -> None:
        """Take over the `computed` results of another batch of the same images."""
        for (kind, name), value in computed.items():
            if kind == "note":
                self.notes[name] = value
            else:
                memo(self.teachers[name]).outputs[id(self.x)] = self.x, value

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `[B]` over the whole batch, across all processes; a scalar without gradient."""
        total, images = self.total(torch.stack([values, torch.ones_like(values)], 1))
        return total / images

    @property
    def teacher(self) -> Network:
        """T, the robust teacher."""
        return self.teachers["robust"]

    @property
    def clean_teacher(self) -> Network:
        """N, the teacher for clean accuracy."""
        return self.teachers["clean"]

    @property
    def peer(self) -> Network:
        """P, a network like the student, initialised and trained together with the student."""
        return self.teachers["peer"]
