"""The Square attack by itself with few queries, through pyautoattack, judged by ourselves."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .autoattack import FromLibrary, Report

__all__ = ["Square"]


@dataclass(frozen=True)
class Square(FromLibrary):
    """Random search with squares of colour: a black-box attack that asks for logits only.

    The squares shrink on a schedule made for 10000 queries and run through in `queries`, as torchattacks does, with
    which CIARD's evaluation script takes 100. AutoAttack does not shorten it: 100 queries would see only the three
    largest sizes. Where the library's own start, stripes (Linf) or a grid (L2), succeeds, no more is asked.

    Args:
        threat: `Linf` or `L2`.
        queries: for each image, after the one of the start.

    Source: the Square attack of pyautoattack.
    """

    queries: int = 100

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"Square needs at least 1 query, got queries={self.queries}. The usual number is 100.")

    def describe(self, classes: int) -> str:
        """The settings, as they are printed with results."""
        return f"Square, {self.queries} queries, {self.threat}"

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        searched: nn.Module | None = None,
        seed: int = 0,
        batch_size: int = 256,
        device: torch.device | str = "cpu",
        report: Report | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attack every image; arguments, and what counts as broken, as in `AutoAttack`.

        Returns:
            x' where the attack succeeded, else x; and which images stand, `[N]` booleans.

        Raises:
            ImportError: see `check`.
        """
        x_adv, quiet = x.clone(), report or (lambda line: None)
        *_, (_, standing) = self.search(("square",), model, x, y, x_adv, searched, seed, batch_size, device, quiet)
        return x_adv, standing

    def _build(self, model: nn.Module, classes: int, seed: int, device: torch.device | str) -> Any:
        library = super()._build(model, classes, seed, device)
        library.square.n_queries, library.square.rescale_schedule = self.queries, True
        return library
