"""Which images of a split a model still classifies correctly, clean or attacked."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..attacks import PGD
from ..data import Split
from ..data.batches import in_order, starts
from ..losses import cross_entropy
from ..rng import Rng

__all__ = ["correct", "judge"]

Loss = Callable[[Tensor, Tensor], Tensor]


def correct(
    model: nn.Module,
    split: Split,
    attack: PGD | None = None,
    loss: Loss = cross_entropy,
    *,
    searched: nn.Module | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    processes: tuple[int, int] = (0, 1),
) -> Tensor:
    """`[N]` booleans on the CPU; fp32, eval mode, one attempt per image, judged on the attack's last iterate.

    Args:
        attack: `None` for clean images.
        loss: what the attack climbs, logits `[B, K]` and labels `[B]` to `[B]`.
        searched: whose loss the attack climbs, `None` for the model's own; the verdict is the model's either way.
        processes: this one's number and how many there are; each has the flags of its share of the batches alone.
    """
    flags = [torch.zeros(0, dtype=torch.bool)]
    for start, x, y in in_order(split, batch_size, device, starts(split, batch_size, processes)):
        rng = Rng(seed, "attack", start, device=device)
        flags.append(judge(model, x, y, attack, loss, searched, rng)[1].cpu())
    return torch.cat(flags)


def judge(
    model: nn.Module, x: Tensor, y: Tensor, attack: PGD | None, loss: Loss, searched: nn.Module | None, rng: Rng
) -> tuple[Tensor, Tensor]:
    """As `correct`, of one batch of images `[B, C, H, W]` in [0, 1] and labels `[B]`: x' and `[B]` booleans."""
    climbed = model if searched is None else searched
    if attack is not None:
        x = attack(lambda x_adv: loss(climbed(x_adv), y), x, rng)
    with torch.no_grad():
        return x, model(x).argmax(1) == y
