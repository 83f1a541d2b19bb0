"""The network that an attack climbs, where it is not the one that is judged."""

from dataclasses import dataclass

import torch
from torch import nn

from ..data import Split
from ..data.batches import to_float
from ..frozen import Frozen, native_bf16
from .judged import Judged
from .suites import Attack
from .verdicts import digest

__all__ = ["ITSELF", "Searched", "precision", "searches"]


@dataclass(frozen=True, eq=False)
class Searched:
    """A network to look for x' on, `None` for the judged one, and what results say of it."""

    network: nn.Module | None = None
    note: str = ""


ITSELF = Searched()


def searches(
    chosen: list[Attack],
    model: Judged,
    surrogate: nn.Module | None,
    split: Split,
    device: torch.device | str,
    accelerated: bool,
) -> dict[str, Searched]:
    """By attack, what it searches on: the model or the surrogate, or with `accelerated` a fast copy of either.

    Raises:
        ValueError: an attack that transfers has no surrogate, or the surrogate does not fit the split.
    """
    found = dict.fromkeys((attack.name for attack in chosen if attack.settings), ITSELF)
    if accelerated and not all(attack.transferred for attack in chosen):
        found = dict.fromkeys(found, _fast(model, split, device))
    transferred = [attack.name for attack in chosen if attack.transferred]
    if not transferred:
        return found
    if surrogate is None:
        raise ValueError(
            f"{transferred[0]} takes its adversarial images from another model, and none was given. "
            "Give --surrogate, usually the teacher."
        )
    judged = Judged(surrogate, split, device)
    other = _fast(judged, split, device) if accelerated else Searched(judged)
    note = f", transferred from a model of weights {digest(judged.network)}{other.note}"
    return found | dict.fromkeys(transferred, Searched(other.network, note))


def precision(device: torch.device | str) -> torch.dtype:
    """Of a fast copy: bf16 where that is native."""
    return torch.bfloat16 if native_bf16(device) else torch.float32


def _fast(network: nn.Module, split: Split, device: torch.device | str) -> Searched:
    copy = Frozen(network, precision(device))
    copy(to_float(split.images[:2].to(device)))  # it may not take that precision
    return Searched(copy, f", searched in {copy.precision}, judged in fp32")
