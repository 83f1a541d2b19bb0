"""The Square attack alone, with few queries, from pyautoattack."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .autoattack import LibraryAttack

__all__ = ["Square"]


@dataclass(frozen=True)
class Square(LibraryAttack):
    """Random search with squares of colour: a black-box attack that uses logits only.

    The squares shrink on a schedule for 10000 queries, rescaled to `queries` as in torchattacks, which CIARD's
    evaluation script runs with 100 queries. AutoAttack does not rescale it: 100 queries would use only the three
    largest sizes. If the library's own start, stripes (Linf) or a grid (L2), succeeds, the image is not queried again.

    Args:
        threat: `Linf` or `L2`.
        queries: number of queries for each image after that of the start.

    Raises:
        ValueError: fewer than one query.

    Source: the Square attack of pyautoattack.

    Example:
        >>> from advdistill import Linf
        >>> Square(Linf("8/255")).describe(10)
        'Square, 100 queries, Linf 8/255'
    """

    queries: int = 100
    name: str = field(init=False)

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"Square needs at least 1 query, got queries={self.queries}. The usual number is 100.")
        object.__setattr__(self, "name", f"square-{self.queries}")

    def describe(self, classes: int) -> str:
        return f"Square, {self.queries} queries, {self.threat}"

    def names(self, classes: int) -> tuple[str, ...]:
        return ("square",)

    def _build(self, model: nn.Module, classes: int, seed: int, device: torch.device) -> Any:
        library = super()._build(model, classes, seed, device)
        library.square.n_queries, library.square.rescale_schedule = self.queries, True
        return library
