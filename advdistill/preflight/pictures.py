"""A sheet of training images as the recipe augments them."""

from pathlib import Path

import torch

from ..data import Split
from ..data.batches import Batches, to_float
from ..data.loaded import Loaded
from ..data.with_extra import MixedBatches, WithExtra
from ..recipe import Recipe
from ..report.pictures import draw_sheet

__all__ = ["draw_augmented"]

COLUMNS, ROWS = 10, 5


def draw_augmented(recipe: Recipe, train: Split | Loaded, path: Path | str) -> None:
    """Draw some training images as they are, and below each its augmentations in the first epochs.

    If images are mixed, or some are generated, each row shows the beginning of an epoch's first batch instead.

    Raises:
        ValueError: `train` is a loader.
        ImportError: a package of the extra `plot` is missing.
    """
    if isinstance(train, Loaded):
        raise ValueError("--pictures draws what data.augment does, and a loader has transforms of its own.")
    augment = recipe.data.augmentation
    kind = MixedBatches if isinstance(train, WithExtra) else Batches
    batches = kind(train, recipe.batch_size, augment, recipe.seed)  # type: ignore[arg-type]  # of the same kind
    if augment.mixes or isinstance(train, WithExtra):
        shares = [next(batches.epoch(epoch)) for epoch in range(ROWS)]
        draw_sheet({f"epoch {at + 1}": share.x[:COLUMNS].numpy() for at, share in enumerate(shares)}, path)
        return
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(recipe.seed))[:COLUMNS]
    rows = {"image": to_float(train.images[chosen]).numpy()}
    for epoch in range(ROWS):
        rows[f"epoch {epoch + 1}"] = batches.augmented(train.images[chosen], chosen, epoch).cpu().numpy()
    draw_sheet(rows, path)
