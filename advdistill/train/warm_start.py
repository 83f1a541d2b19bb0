"""Initialise a student with the weights of another network: a run, a file, a published checkpoint."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from .._internal.checks import trial
from .._internal.modes import in_mode
from ..models.classifier import Classifier
from .inputs import network_digest

__all__ = ["WarmStart", "warm_start"]

SHOWN = 3  # differing tensors listed in the message


@dataclass(frozen=True)
class WarmStart:
    """The source of a student's initial weights.

    Attributes:
        reference: the source network, as the recipe names it.
        digest: digest of the source network, sixteen hex digits.
        classes: the source's number of classes if the student has another, and thus a new head; else `None`.
    """

    reference: str
    digest: str
    classes: int | None = None

    @property
    def bound(self) -> str:
        """The digest that the run's state records."""
        return self.digest if self.classes is None else f"{self.digest} with a new head"

    def __str__(self) -> str:
        head = f", with a new head in place of that of {self.classes} classes" if self.classes is not None else ""
        return f"the weights of {self.reference} ({self.digest[:12]}){head}"


def warm_start(student: nn.Module, reference: str, images: Tensor) -> tuple[nn.Module, WarmStart]:
    """Load the weights and running statistics of another network of the same architecture into a student.

    If the numbers of classes differ, the student's last layer keeps its own weights. A student of the zoo also gets the
    other network's normalisation, since the weights were trained with it.

    Args:
        student: the network to train; its weights are replaced.
        reference: named like a teacher, see `models.load`.
        images: at least two, `[B, C, H, W]` in [0, 1].

    Returns:
        The student, a new module if the normalisation changed, and the source of its weights.

    Raises:
        ValueError: the reference is wrong, or its network has another architecture or normalisation.
        FileNotFoundError: there is no such file.
    """
    source = models.load(reference)
    student = _normalised_like(student, source, reference)
    ours, theirs = student.state_dict(), _named_like(source.state_dict(), student.state_dict())
    differing = [name for name in dict.fromkeys((*ours, *theirs)) if _shape(ours, name) != _shape(theirs, name)]
    classes = None
    if differing:
        if not _is_head(differing, ours, theirs, _classes(student, images)):
            raise ValueError(_refusal(student, source, reference, differing, ours, theirs))
        classes = len(theirs[differing[0]])
    student.load_state_dict({name: ours[name] if name in differing else theirs[name] for name in ours})
    return student, WarmStart(reference, network_digest(source), classes)


def _normalised_like(student: nn.Module, source: nn.Module, reference: str) -> nn.Module:
    wanted, own = _normalisation(source), _normalisation(student)
    if wanted == own:
        return student
    if not isinstance(student, Classifier) or wanted is None or len(wanted[0]) != student.spec.in_channels:
        raise ValueError(f"{reference} normalises its images by {_said(wanted)}, the student by {_said(own)}. Give the "
                         "student the same normalisation.")  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        made = models.create(student.spec.name, student.spec.num_classes, student.spec.in_channels,
                             mean=wanted[0], std=wanted[1])  # fmt: skip
    made.load_state_dict(student.state_dict())
    return made


def _normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std by channel, rounded; `None` if the network does not normalise."""
    mean, std = (getattr(network, name, None) for name in ("mean", "std"))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None
    values = tuple(tuple(round(v, 6) for v in part.flatten().tolist()) for part in (mean, std))
    return None if set(values[0]) == {0.0} and set(values[1]) == {1.0} else (values[0], values[1])


def _said(normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None) -> str:
    return "nothing" if normalisation is None else f"mean {normalisation[0]}, std {normalisation[1]}"


def _named_like(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors with the common prefix of their names replaced by the student's."""
    if found.keys() == wanted.keys():
        return found
    lead, own = _common_prefix(found), _common_prefix(wanted)
    return {f"{own}{name.removeprefix(lead)}": tensor for name, tensor in found.items()}


def _common_prefix(names: Iterable[str]) -> str:
    head, dot, _ = os.path.commonprefix(list(names)).rpartition(".")
    return head + dot


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _is_head(differing: list[str], ours: dict[str, Tensor], theirs: dict[str, Tensor], classes: int) -> bool:
    """Whether only the student's last layer differs, and only in the number of classes."""
    found = [(ours[name], theirs[name]) for name in differing if name in ours and name in theirs]
    one_layer = len(found) == len(differing) and len({name.rpartition(".")[0] for name in differing}) == 1
    return one_layer and all(
        own.ndim == other.ndim > 0 and len(own) == classes and own.shape[1:] == other.shape[1:] for own, other in found
    )


def _classes(student: nn.Module, images: Tensor) -> int:
    with torch.no_grad(), in_mode(student, False):
        return trial("student", student, images[:2]).shape[1]


def _refusal(
    student: nn.Module, source: nn.Module, reference: str, differing: list[str], ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
) -> str:  # fmt: skip
    def form(tensors: dict[str, Tensor], name: str) -> str:
        return "missing" if name not in tensors else str(list(tensors[name].shape))

    first = [f"{name} is {form(ours, name)} in the first and {form(theirs, name)} in the second"
             for name in differing[:SHOWN]]  # fmt: skip
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    return (
        f"The student is {_name(student)}, and student_init {reference} is {_name(source)}: {'; '.join(first)}{more}. "
        "Give --student that architecture, or a student_init of the student's."
    )


def _name(network: nn.Module) -> str:
    return network.spec.name if isinstance(network, Classifier) else f"a {type(network).__name__}"
