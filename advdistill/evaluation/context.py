"""What every part of an evaluation is told: which model, which images, which threat, where and how."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .._internal.rng import Rng
from ..attacks.base import Attack, Outcome, Report, checked, naming
from ..data import Split
from ..data.batches import in_order, starts
from ..threat import Linf, Threat
from .networks import ITSELF, AttackedNetwork

__all__ = ["Context", "exact", "silent"]


def silent(line: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Context:
    """The setting of an evaluation.

    Args:
        model: the one that is evaluated, in eval mode and on `device`; its predictions at x' count.
        split: the images it is evaluated on.
        attacked: the network on which attacks search for x'.
        processes: this one's number and how many there are; each takes its share of the batches.
        report: receives lines of progress.
    """

    model: nn.Module
    split: Split
    threat: Threat = field(default_factory=Linf)
    attacked: AttackedNetwork = ITSELF
    seed: int = 0
    batch_size: int = 256
    device: torch.device | str = "cpu"
    processes: tuple[int, int] = (0, 1)
    report: Report = silent

    def starts(self) -> list[int]:
        """The places of the first images of this process's batches."""
        return list(starts(self.split, self.batch_size, self.processes))

    def batches(self, begin: list[int] | None = None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Place of the first image, images `[B, C, H, W]` in [0, 1] and labels `[B]`; `None` is all of `starts`."""
        yield from in_order(self.split, self.batch_size, self.device, self.starts() if begin is None else begin)

    def rng(self, start: int, what: str = "attack") -> Rng:
        """Where the batch that begins at `start` draws from."""
        return Rng(self.seed, what, start, device=self.device)

    def right(self, x: Tensor, y: Tensor) -> Tensor:
        """Which of a batch the model classifies correctly, `[B]` booleans."""
        with torch.no_grad():
            return self.model(x).argmax(1) == y

    def attack(self, attack: Attack, start: int, x: Tensor, y: Tensor) -> Outcome:
        """Attack one batch, the one that begins at `start`.

        Raises:
            ValueError: it returns something else than images like x, or needs a gradient where there is none.
        """
        rng, network = self.rng(start), self.attacked.network
        with naming(attack):
            found = attack.outcome(self.model, x, y, attacked=network, rng=rng, report=self.report)
        return replace(found, x_adv=checked(attack, found.x_adv, x))

    def correct(self, attack: Attack, *, among: Tensor | None = None, again: int = 0) -> Tensor:
        """Which images are classified correctly at the attack's x', `[N]` booleans on the CPU.

        Args:
            among: only these are attacked, `[N]` booleans, the others count as wrong; `None` for all.
            again: another number makes other draws.
        """
        if among is not None:
            flags = among.clone()
            if flags.any():
                part = replace(self, split=self.split.take(flags.nonzero()[:, 0]))
                flags[flags.clone()] = part.correct(attack, again=again)
            return flags
        drawing, flags = replace(self, seed=self.seed + again), torch.zeros(0, dtype=torch.bool)
        for start, x, y in self.batches():
            found = drawing.attack(attack, start, x, y)
            right = self.right(found.x_adv, y) if found.correct is None else found.correct
            flags = torch.cat([flags, right.cpu()])
        return flags


def exact() -> AbstractContextManager[None]:
    """No TF32, which rounds to three digits, and no nondeterministic convolution meanwhile."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
