"""What a paper's equation may mention: images, labels, the networks, and how far the training is."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

__all__ = ["Batch", "Losses", "Network"]

Network = Callable[[Tensor], Tensor]  # images [B, C, H, W] to logits [B, K]
Losses = dict[str, Tensor]  # [B] each


class _Memo:
    """A network that runs once per constant image tensor, so that all terms of a loss use one forward pass."""

    def __init__(self, network: Network):
        self.network = network
        self.outputs: dict[int, tuple[Tensor, Tensor]] = {}  # by id(x); with x itself, so that the id stays its own

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad:  # an iterate of the attack, which no one asks for again
            return _full_precision(self.network(x))
        if id(x) not in self.outputs:
            self.outputs[id(x)] = x, _full_precision(self.network(x))
        return self.outputs[id(x)][1]


def _memo(network: Network) -> _Memo:
    return network if isinstance(network, _Memo) else _Memo(network)


def _full_precision(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


@dataclass
class Batch:
    """Everything that an equation may mention.

    Attributes:
        x: clean images `[B, C, H, W]` in [0, 1].
        y: labels `[B]`.
        student: S, images to logits `[B, K]`.
        teachers: networks by role: `robust` (T), `clean` (N), `peer` (P).
        progress: share of the training that is done, in [0, 1].
        x_adv: adversarial images `[B, C, H, W]`; equal to x until the attack is over.
        rate: factor of the learning rate's schedule, for the rates of a method's own state.
        total: sum of `[B, ...]` over the images of the whole batch, of all processes; a value without gradient.
        notes: tensors that `inner` records during the attack for `outer`.

    A network runs once per constant image tensor, however often an equation mentions its output:

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

    def __post_init__(self) -> None:
        self.x_adv = self.x if self.x_adv is None else self.x_adv
        self.student = _memo(self.student)
        self.teachers = {role: _memo(teacher) for role, teacher in self.teachers.items()}

    def attacked(self, x_adv: Tensor, student: Network, trained: dict[str, Network] | None = None) -> "Batch":
        """The same batch with its adversarial images; the logits that frozen teachers gave for x are used again.

        Args:
            x_adv: adversarial images `[B, C, H, W]`.
            student: the network in the mode in which the losses are taken.
            trained: the teachers that train along, in that mode too, by role.
        """
        return replace(self, x_adv=x_adv, student=student, teachers=self.teachers | (trained or {}))

    @property
    def computed(self) -> dict[tuple[str, str], Tensor]:
        """What the attack computed: teachers' logits of x by `("logits", role)`, notes by `("note", name)`."""
        outputs = {role: _memo(teacher).outputs for role, teacher in self.teachers.items()}
        logits = {("logits", role): of[id(self.x)][1] for role, of in outputs.items() if id(self.x) in of}
        return logits | {("note", name): value for name, value in self.notes.items()}

    def reuse(self, computed: dict[tuple[str, str], Tensor]) -> None:
        """Use what another batch of the same images has `computed`."""
        for (kind, name), value in computed.items():
            if kind == "note":
                self.notes[name] = value
            else:
                _memo(self.teachers[name]).outputs[id(self.x)] = self.x, value

    def mean(self, values: Tensor) -> Tensor:
        """Mean of `[B]` over the images of the whole batch, of all processes; a scalar without gradient."""
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
        """P, a network like the student that is initialised and trained with it."""
        return self.teachers["peer"]
