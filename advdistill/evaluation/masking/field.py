"""Where attacks meet the model that is judged."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...attacks import PGD
from ...data import Split
from ...losses import cross_entropy
from ...threat import Threat
from ..accuracy import Loss, correct
from ..judged import Judged
from .passes import Climbed

__all__ = ["Field"]


@dataclass(frozen=True)
class Field:
    """A model, the images it is attacked on, and the threat model."""

    model: Judged
    split: Split
    threat: Threat
    batch_size: int
    seed: int
    device: torch.device | str

    def standing(
        self,
        attack: PGD | None,
        loss: Loss = cross_entropy,
        *,
        among: Tensor | None = None,
        searched: nn.Module | None = None,
        again: int = 0,
    ) -> Tensor:
        """Which images are classified correctly, `[N]` booleans on the CPU.

        Args:
            among: only these are attacked, `[N]`, the others count as fallen; `None` for all.
            searched: the model that the attack climbs, `None` for the judged one.
            again: another number makes other draws.
        """
        flags = torch.ones(len(self.split), dtype=torch.bool) if among is None else among.clone()
        if flags.any():
            part, climbed = self.split.take(flags.nonzero()[:, 0]), Climbed(searched or self.model)
            options: dict[str, Any] = {"batch_size": self.batch_size, "seed": self.seed + again, "device": self.device}
            flags[flags.clone()] = correct(self.model, part, attack, loss, searched=climbed, **options)
        return flags
