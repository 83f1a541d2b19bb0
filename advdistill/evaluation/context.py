"""The setting of an evaluation: model, images, threat model, seed, device and processes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .._internal.rng import ImageRng
from ..attacks.base import Attack, Outcome, Report, checked, naming
from ..data import Split
from ..data.batches import in_order, starts
from ..threat import Linf, Threat
from .networks import ITSELF, AttackedNetwork
from .watch import NO_GRADIENT, first_gradient

__all__ = ["Context", "exact", "silent"]

LEAST, MOST = 8, 512  # images of a block
CPU, GPU = (64, 2**16), (256, 2**18)  # images of at most 64x64 and 32x32 in a block, and pixels of smaller ones
LARGE = 2**18  # pixels of a block of larger images


def silent(line: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Context:
    """The model, images and threat model of an evaluation, and where and how it runs.

    Args:
        model: the one that is evaluated, in eval mode and on `device`; its predictions at x' count.
        split: the images it is evaluated on.
        attacked: the network on which attacks search for x'.
        batch_size: images between two saves of the verdicts, whole blocks and at least one.
        processes: this one's number and how many there are; each takes its share of the blocks.
        report: receives lines of progress.
        places: of the images in the whole split, where `split` is a part of it, `[N]`.
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
    places: Tensor | None = None

    @property
    def block(self) -> int:
        """Images that pass the networks at once, a function of their size and the kind of device alone.

        A network's logits for an image depend in their last bits on how many images are passed with it, and AutoAttack
        draws for all images of a batch together: no verdict depends on `batch_size` because no block does.
        """
        _, height, width = self.split.shape
        usual, pixels = CPU if torch.device(self.device).type == "cpu" else GPU
        small = min(MOST, pixels // (height * width))  # what a network does besides its sums costs per block
        return max(LEAST, min(max(usual, small), LARGE // (height * width)))

    def starts(self) -> list[int]:
        """The places of the first images of this process's blocks."""
        return list(starts(self.split, self.block, self.processes))

    def batches(self, begin: list[int] | None = None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Block by block: place of the first image, images `[B, C, H, W]` in [0, 1] and labels `[B]`.

        Args:
            begin: the places of the first images; `None` is all of `starts`.
        """
        yield from in_order(self.split, self.block, self.device, self.starts() if begin is None else begin)

    def rng(self, start: int, what: str = "attack") -> ImageRng:
        """Where the block that begins at `start` draws from: each image by its place."""
        places = range(start, min(start + self.block, len(self.split)))
        known = list(places) if self.places is None else self.places[places.start : places.stop].tolist()
        return ImageRng(self.seed, what, places=known, device=self.device)

    def right(self, x: Tensor, y: Tensor) -> Tensor:
        """Which of a batch the model classifies correctly, `[B]` booleans."""
        with torch.no_grad():
            return self.model(x).argmax(1) == y

    def attack(self, attack: Attack, start: int, x: Tensor, y: Tensor) -> Outcome:
        """Attack one block, the one that begins at `start`; where it can be seen, the note `NO_GRADIENT` is added.

        Raises:
            ValueError: it returns something else than images like x, or needs a gradient where there is none.
        """
        rng, network = self.rng(start), self.attacked.network
        watched = self.model if network is None else network
        with naming(attack), first_gradient(watched, len(x)) if attack.climbs else nullcontext() as gradient:
            found = attack.outcome(self.model, x, y, attacked=network, rng=rng, report=self.report)
        seen = {NO_GRADIENT: gradient.lost} if gradient is not None and gradient.lost is not None else {}
        return replace(found, x_adv=checked(attack, found.x_adv, x), notes={**found.notes, **seen})

    def correct(self, attack: Attack, *, among: Tensor | None = None, again: int = 0) -> Tensor:
        """Which images are classified correctly at the attack's x', `[N]` booleans on the CPU.

        Args:
            among: only these are attacked, `[N]` booleans, the others count as wrong; `None` for all.
            again: another number makes other draws.
        """
        if among is not None:
            flags = among.clone()
            if flags.any():
                chosen = flags.nonzero()[:, 0]
                places = chosen if self.places is None else self.places[chosen]
                part = replace(self, split=self.split.take(chosen), places=places)
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
