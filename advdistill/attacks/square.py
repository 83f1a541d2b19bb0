"""The Square attack by itself with few queries, through pyautoattack, judged by ourselves."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..threat import Threat
from .autoattack import AutoAttack, Report, _library, _run, _warnings

__all__ = ["Square"]


@dataclass(frozen=True)
class Square:
    """Random search with squares of colour: a black-box attack that asks for logits only.

    The squares shrink on a schedule made for 10000 queries and run through in `queries`, as torchattacks does, with
    which CIARD's evaluation script takes 100. AutoAttack does not shorten it: 100 queries would see only the three
    largest sizes. Where the library's own start, stripes (Linf) or a grid (L2), succeeds, no more is asked.

    Args:
        threat: `Linf` or `L2`.
        queries: for each image, after the one of the start.

    Source: the Square attack of pyautoattack.
    """

    threat: Threat
    queries: int = 100

    def __post_init__(self):
        if self.queries < 1:
            raise ValueError(f"Square needs at least 1 query, got queries={self.queries}. The usual number is 100.")

    def __str__(self) -> str:
        return f"Square, {self.queries} queries, {self.threat}"

    def check(self, classes: int) -> None:
        """As `AutoAttack.check`; any number of classes will do.

        Raises:
            ImportError: pyautoattack is missing.
        """
        _library()

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
        self.check(classes := model(x[:1].to(device)).shape[1])
        judge, x_adv = AutoAttack(self.threat), x.clone()
        standing = ~judge._broken(model, x, x, y, batch_size, device)
        groups = judge._groups(model, searched, x, y, batch_size, device) if self.threat.eps else ()
        quiet = report or (lambda line: None)
        with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"), _warnings(quiet):
            for network, members in groups:
                if not len(alive := (standing & members).nonzero()[:, 0]):
                    continue
                library = self._build(judge, network, classes, seed, device)
                found = _run(library, "square", x[alive], y[alive], batch_size)
                broken = judge._broken(model, found, x[alive], y[alive], batch_size, device)
                x_adv[alive[broken]] = found[broken]
                standing[alive[broken]] = False
        return x_adv, standing

    def _build(self, judge: AutoAttack, network: nn.Module, classes: int, seed: int, device):
        library = judge._build(network, classes, seed, device)
        library.square.n_queries, library.square.rescale_schedule = self.queries, True
        return library
