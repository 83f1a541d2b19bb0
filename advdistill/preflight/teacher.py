"""Find why a teacher is less accurate than expected: wrong normalisation, another order of classes, a wrong claim."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._internal.adapter import logits_of
from .._internal.modes import in_mode
from ..data import Split
from ..data.batches import in_order
from ..models.classifier import Classifier
from ..results.result import wilson

__all__ = ["Claim", "refuted_claims", "wrong_class_order", "predictions", "wrong_normalisation"]

STATISTICS = {  # per channel, in units of images in [0, 1]
    "none": (None, None),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "CIFAR-10, std of the mean image": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR-100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "SVHN": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "to [-1, 1]": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "Fashion-MNIST": ((0.2860,), (0.3530,)),
    "MNIST": ((0.1307,), (0.3081,)),
    "grey to [-1, 1]": ((0.5,), (0.5,)),
}


@dataclass(frozen=True)
class Claim:
    """A teacher's claimed accuracies on the test split, as fractions; `robust` is under AutoAttack or any PGD."""

    clean: float | None = None
    robust: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"A claimed {name} accuracy is a fraction such as 0.563, got {value:g}.")


def predictions(network: nn.Module, split: Split, device: torch.device | str = "cpu") -> Tensor:
    """Return the predicted classes `[N]`, on the CPU; the network is in eval mode meanwhile."""
    with torch.no_grad(), in_mode(network, train=False):
        batches = (x for _, x, _ in in_order(split, 64, device))
        return torch.cat([logits_of(network(x), "teacher", x).argmax(1).cpu() for x in batches])


def wrong_normalisation(network: nn.Module, split: Split, device: torch.device | str = "cpu") -> str | None:
    """Return a sentence if another common mean and std make the network significantly more accurate, else `None`."""
    if not isinstance(network, Classifier):
        return None
    given = _count_correct(network, split, device)
    found = {name: _count_correct(other, split, device) for name, other in _renormalised(network)}
    name = max(found, key=found.__getitem__, default=None)
    n = len(split)
    if name is None or wilson(found[name], n)[0] <= wilson(given, n)[1]:
        return None
    mean, std = ([f"{value:g}" for value in part or ()] for part in STATISTICS[name])
    option = f"?mean={','.join(mean)}&std={','.join(std)}"
    remedy = f"that of {name}. Give {option}." if mean else "none. Leave mean and std out."
    return (
        f"It is loaded with the wrong normalisation: right on {given / n:.1%} of {n} held-out images as given, on "
        f"{found[name] / n:.1%} with {remedy}"
    )


def wrong_class_order(network: nn.Module, split: Split, device: torch.device | str = "cpu") -> str | None:
    """Return a sentence if the network is significantly more accurate with its classes permuted, else `None`."""
    k, n = split.num_classes, len(split)
    counts = torch.zeros(k, k, dtype=torch.long)
    counts.index_put_((predictions(network, split, device), split.labels), torch.ones(n, dtype=torch.long), True)
    meant = counts.argmax(1)  # for each predicted class, the most frequent label
    given, renamed = int(counts.diag().sum()), int(counts.max(1).values.sum())
    if len(meant.unique()) < k or wilson(renamed, n)[0] <= max(wilson(given, n)[1], 0.5):
        return None
    moved = [f"its class {i} is the data's {j} ({split.classes[j]})" for i, j in enumerate(meant.tolist()) if i != j]
    shown = "; ".join(moved[:4]) + (f"; and {len(moved) - 4} more" if len(moved) > 4 else "")
    return (
        f"Its classes are in another order than the data's: right on {given / n:.1%} of {n} held-out images, on "
        f"{renamed / n:.1%} with its classes renamed: {shown}."
    )


def refuted_claims(claim: Claim, clean: Sequence[bool], attacked: Sequence[bool]) -> Iterator[str]:
    """Yield a sentence for each claimed accuracy that the held-out images refute.

    Accuracy on them is usually above that on the test split: the teacher may have been trained on them, and PGD-10 is
    weaker than the attack of a claim. So a claim is refuted only if the measured accuracy is significantly below it.
    """
    measured = {"clean": (claim.clean, clean, "clean"), "robust": (claim.robust, attacked, "under PGD-10")}
    for name, (claimed, flags, how) in measured.items():
        right, n = sum(map(bool, flags)), len(flags)
        if claimed is not None and n and wilson(right, n)[1] < claimed:
            low, high = wilson(right, n)
            yield (
                f"The {name} accuracy that is claimed, {claimed:.1%}, is out of reach: {right / n:.1%} of {n} held-out "
                f"images {how} ({low:.1%} to {high:.1%}), which flatter a teacher."
            )


class _Renormalised(nn.Module):
    def __init__(self, network: Classifier, mean: Tensor, std: Tensor):
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.network.network((x - self.mean.to(x)) / self.std.to(x))


def _renormalised(network: Classifier) -> Iterator[tuple[str, nn.Module]]:
    channels = network.spec.in_channels
    for name, statistics in STATISTICS.items():
        mean, std = (part or (neutral,) * channels for part, neutral in zip(statistics, (0.0, 1.0), strict=True))
        if len(mean) == channels:
            yield name, _Renormalised(network, *(torch.tensor(part).view(1, -1, 1, 1) for part in (mean, std)))


def _count_correct(network: nn.Module, split: Split, device: torch.device | str) -> int:
    return int((predictions(network, split, device) == split.labels).sum())
