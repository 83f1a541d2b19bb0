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

LEAST, MOST = 8, 512  # images per block
CPU, GPU = (64, 2**16), (256, 2**18)  # images per block up to 64x64 and 32x32, pixels per block of smaller images
LARGE = 2**18  # pixels per block of larger images


def silent(line: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Context:
    """The model, images and threat model of an evaluation, and where and how it runs.

    Args:
        model: the evaluated model, in eval mode and on `device`; its predictions at x' are counted.
        split: the evaluation images.
        attacked: the network on which attacks search for x'.
        batch_size: images between two saves of the verdicts, in whole blocks, at least one block; see `evaluate`.
        processes: this process's rank and the number of processes; the blocks are divided among the processes.
        report: receives lines of progress.
        places: indices of the images in the whole split, `[N]`, if `split` is a part of it.
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
        """Number of images in one forward pass; depends only on the image size and the type of device.

        The last bits of an image's logits depend on how many images are in the forward pass, and AutoAttack draws
        random numbers for a whole batch at once. No block depends on `batch_size`, so no verdict does.
        """
        _, height, width = self.split.shape
        usual, pixels = CPU if torch.device(self.device).type == "cpu" else GPU
        small = min(MOST, pixels // (height * width))  # each forward pass has a fixed cost
        return max(LEAST, min(max(usual, small), LARGE // (height * width)))

    def starts(self) -> list[int]:
        """Return the indices of the first images of this process's blocks."""
        return list(starts(self.split, self.block, self.processes))

    def batches(self, begin: list[int] | None = None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the index of the first image, the images `[B, C, H, W]` in [0, 1] and the labels `[B]` of each block.

        Args:
            begin: the indices of the first images; `None` is all of `starts`.
        """
        yield from in_order(self.split, self.block, self.device, self.starts() if begin is None else begin)

    def rng(self, start: int, what: str = "attack") -> ImageRng:
        """Return the random numbers of the block that begins at `start`; each image draws by its index."""
        places = range(start, min(start + self.block, len(self.split)))
        known = list(places) if self.places is None else self.places[places.start : places.stop].tolist()
        return ImageRng(self.seed, what, places=known, device=self.device)

    def right(self, x: Tensor, y: Tensor) -> Tensor:
        """Return which images of a batch the model classifies correctly, `[B]` booleans."""
        with torch.no_grad():
            return self.model(x).argmax(1) == y

    def attack(self, attack: Attack, start: int, x: Tensor, y: Tensor) -> Outcome:
        """Attack the block that begins at `start`; add the note `NO_GRADIENT` if the first gradient was observed.

        Raises:
            ValueError: the attack does not return images like x, or needs a gradient and there is none.
        """
        rng, network = self.rng(start), self.attacked.network
        watched = self.model if network is None else network
        with naming(attack), first_gradient(watched, len(x)) if attack.climbs else nullcontext() as gradient:
            found = attack.outcome(self.model, x, y, attacked=network, rng=rng, report=self.report)
        without = None if gradient is None else gradient.without_gradient
        seen = {} if without is None else {NO_GRADIENT: without}
        return replace(found, x_adv=checked(attack, found.x_adv, x), notes={**found.notes, **seen})

    def correct(self, attack: Attack, *, among: Tensor | None = None, again: int = 0) -> Tensor:
        """Return which images are classified correctly at the attack's x', `[N]` booleans on the CPU.

        Args:
            among: `[N]` booleans; only these images are attacked, the others count as wrong. `None` attacks all.
            again: added to the seed, for other random draws.
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
    """Turn off TF32, which rounds to three digits, and nondeterministic convolutions, within this context."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
