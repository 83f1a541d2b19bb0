"""Whether a file computes what the network does that it was made from."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Parity", "compare"]

TIE = 1e-5  # of the largest logit: so close, the largest two are in the order that rounding gives them


@dataclass(frozen=True)
class Parity:
    """How the logits of two networks differ on `n` images.

    Attributes:
        largest: the largest difference of two logits.
        relative: the same, in units of the largest logit.
        agree: images that both put into the same class.
        ties: images on which they disagree, and on which the first one's two largest logits tie.
    """

    n: int
    largest: float
    relative: float
    agree: int
    ties: int

    @property
    def changed(self) -> int:
        """Images whose class is another, for more reason than rounding."""
        return self.n - self.agree - self.ties

    def __str__(self) -> str:
        return (
            f"largest |Δlogit| {self.largest:.2g} ({self.relative:.1e} of the largest logit), "
            f"the same class on {self.agree} of {self.n} images"
        )

    def check(self, what: str, limit: float, agreement: float) -> None:
        """Raise ValueError where logits differ by more than `limit`, or more than `1 - agreement` of the classes."""
        if not self.relative <= limit or self.changed > (1 - agreement) * self.n:
            raise ValueError(
                f"{what}: {self}. Expected at most {limit:g} of the largest logit, and the same class on "
                f"{agreement:.0%} of the images."
            )


@torch.no_grad()
def compare(network: nn.Module, other: nn.Module, images: Tensor, batch_size: int = 64) -> Parity:
    """Two networks in eval mode on images `[N, C, H, W]` in [0, 1]."""
    expected, found = (torch.cat([net(x) for x in images.split(batch_size)]).double() for net in (network, other))
    scale, largest = expected.abs().max().item(), (found - expected).abs().max().item()
    differ = expected.argmax(1) != found.argmax(1)
    best, second = expected.topk(2).values.T
    ties = int((differ & (best - second <= TIE * scale)).sum())
    return Parity(len(images), largest, largest / scale, int((~differ).sum()), ties)
