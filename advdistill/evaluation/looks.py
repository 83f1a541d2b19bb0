"""What networks make of images, clean and under one attack: logits to count with, pictures to show."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attacks import PGD
from ..data import Split
from ..data.batches import in_order, to_float
from ..losses import cross_entropy
from ..report.inspection import Example, Look
from ..rng import Rng
from .judged import Judged

__all__ = ["Seen", "examples", "first_of_each", "see"]


@dataclass(frozen=True, eq=False)
class Seen:
    """One network's view of a split, on the CPU.

    Attributes:
        clean, attacked: logits `[N, K]` of the images and of their x'.
        x_adv: x' of this network itself, `[N, C, H, W]`.
        seconds: what attack and passes took.
    """

    clean: Tensor
    attacked: Tensor
    x_adv: Tensor
    seconds: float


def see(
    network: Judged,
    split: Split,
    attack: PGD,
    *,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Seen:
    """Attack every image on the network's cross-entropy; the draws, and so the x', are those of evaluation."""
    rows, began = [], time.monotonic()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start, x, y in in_order(split, batch_size, device):
            loss = lambda moved, y=y: cross_entropy(network(moved), y)  # noqa: E731
            x_adv = attack(loss, x, Rng(seed, "attack", start, device=device))
            rows.append([tensor.cpu() for tensor in (network(x), network(x_adv), x_adv)])
    clean, attacked, x_adv = (torch.cat(column) for column in zip(*rows, strict=True))
    return Seen(clean, attacked, x_adv, round(time.monotonic() - began, 2))


def first_of_each(split: Split, most: int = 10) -> Tensor:
    """The places of the first image of each class that has one, in the order of the labels, at most so many."""
    return torch.stack([(split.labels == label).nonzero()[0, 0] for label in split.labels.unique()[:most]])


def examples(
    networks: Mapping[str, Judged], split: Split, seen: Mapping[str, Seen], device: torch.device | str = "cpu"
) -> tuple[Example, ...]:
    """The first image of each class with every network's look at it; `seen` is of the same split, by the same names."""
    chosen = first_of_each(split)
    part = split.take(chosen)
    x, labels = to_float(part.images[:]), [split.classes[label] for label in part.labels]
    gradients = {name: _gradient(network, x.to(device), part.labels.to(device)) for name, network in networks.items()}

    def look(name: str, i: int) -> Look:
        views, place = seen[name], chosen[i]
        before, after = (split.classes[logits[place].argmax()] for logits in (views.clean, views.attacked))
        return Look(before, after, views.x_adv[place].numpy(), gradients[name][i].numpy())

    return tuple(
        Example(x[i].numpy(), label, {name: look(name, i) for name in networks}) for i, label in enumerate(labels)
    )


def _gradient(network: Judged, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return torch.autograd.grad(cross_entropy(network(leaf), y).sum(), leaf)[0].cpu()
