"""Classify again the adversarial images that were published with a result."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...attacks.base import inside
from ...data import Split
from ...data.batches import to_float
from ...losses import margin
from ...results.consistency import same_fact
from ..context import Context

__all__ = ["CONFIRMED", "MISSING", "NOT_WRONG", "OUTSIDE", "UNDECIDED", "classify", "states"]

ROUNDING = 1e-5  # of the largest logit: differences between machines or batches are smaller
MISSING, CONFIRMED, OUTSIDE, NOT_WRONG, UNDECIDED = range(5)  # states of an image's x'


def classify(context: Context, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return which images `[B]` are classified correctly, and for which that depends on rounding."""
    x, y = x.to(context.device), y.to(context.device)
    with torch.no_grad():
        logits = context.model(x)
    close = margin(logits, y).abs() <= ROUNDING * logits.abs().amax(1)
    return (logits.argmax(1) == y).cpu(), close.cpu()


def states(
    context: Context, attack: str, images: Path, facts: Mapping[str, str] | None = None
) -> tuple[Tensor, list[str]]:
    """Return the state of each image's x' of an attack, `[n]`, read file by file from a folder.

    Args:
        facts: files with other weights, data, threat model or seed in their metadata are left out.

    Returns:
        The states, and a sentence if files were left out.

    Raises:
        ValueError: a file is damaged, or does not fit the split.
    """
    found = torch.full((len(context.split),), MISSING, dtype=torch.uint8)
    files = _published(attack, images)
    others = [file for file in files if any(not same_fact(name, said.get(name, here), here) for said in [_facts(file)]
                                            for name, here in (facts or {}).items())]  # fmt: skip
    for file in files:
        if file in others:
            continue
        index, x_adv = _read(file, context.split)
        for places, part in zip(index.split(context.batch_size), x_adv.split(context.batch_size), strict=True):
            state = _state(context, context.split.take(places), part)
            found[places] = torch.where(found[places] == CONFIRMED, found[places], state)  # one break is enough
    said = f"{attack}: {len(others)} files in {images.name} are of another evaluation and were left out."
    return found, [said] if others else []


def _state(context: Context, split: Split, x_adv: Tensor) -> Tensor:
    near = inside(context.threat, x_adv, to_float(split.images[:]))
    state = torch.full((len(split),), OUTSIDE, dtype=torch.uint8)
    if near.any():
        right, close = classify(context, x_adv[near], split.labels[near])
        state[near] = torch.where(right, torch.where(close, UNDECIDED, NOT_WRONG), CONFIRMED).to(torch.uint8)
    return state


def _published(attack: str, images: Path) -> list[Path]:
    files = sorted(images.iterdir()) if images.is_dir() else []
    return [file for file in files if file.name.startswith(f"{attack}.") and file.suffix == ".safetensors"]


def _facts(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}). Get it again, or delete it.") from None


def _read(file: Path, split: Split) -> tuple[Tensor, Tensor]:
    """Return indices in the split, and x'."""
    try:
        with safe_open(file, "pt") as opened:
            index, x_adv = opened.get_tensor("index"), opened.get_tensor("x_adv")
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}). Get it again, or delete it.") from None
    known = index.dtype == torch.int64 and index.ndim == 1 and ((0 <= index) & (index < len(split))).all()
    if not known or x_adv.dtype != torch.float32 or x_adv.shape != (len(index), *split.shape):
        raise ValueError(
            f"{file} has no adversarial images of the {len(split)} images that were evaluated: expected index "
            f"int64 [k] and x_adv float32 [k, {', '.join(map(str, split.shape))}]."
        )
    return index, x_adv
