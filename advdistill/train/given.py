"""The training and held-out images of a run, from a split or a loader of batches."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from .. import data
from ..data import Given, Split, as_split
from ..data.extra import open_extra
from ..data.loaded import Loaded
from ..data.loader import class_names, is_loader, name_of
from ..data.similar import Similar, similar_to_test
from ..data.with_extra import WithExtra
from ..evaluation.networks import counting
from ..recipe import Recipe

__all__ = ["check_loader", "near_test", "training_data"]

FEW = 16  # images of a Dataset that are read twice; if each is flipped or not by chance, all agree once in 65,536


def training_data(
    recipe: Recipe, train: Given | None, validation: Given | None, network: nn.Module | None
) -> tuple[Split | Loaded, Split | Loaded, Split]:
    """Return the whole training split, the part to train on (with any generated images), and the held-out images.

    Args:
        train: `None` loads the recipe's dataset; a loader is used as it is.
        validation: `None` holds out images as the recipe says.
        network: the student or a teacher, if one was given: data without class names get as many classes as the
            network has logits.

    Raises:
        ValueError: a loader without held-out images, or images of another form or range.
    """
    source, count = recipe.data, None if network is None else counting(network)
    if is_loader(train):
        return _loaded(train, validation, network)
    part = source.validation if validation is None and isinstance(source.validation, str) else None
    if train is None:
        split, *own = (
            data.load(source.name, which, source.folder, source.size, source.stream, **source.reading)
            for which in ("train", "val")[: 2 if part else 1]
        )
        validation = own[0] if own else validation
    elif part:
        raise ValueError(f"data.validation ({part}) is a part of {source.name}, and the images are given; give "
                         "validation=..., or a fraction such as 0.1.")  # fmt: skip
    else:
        split = as_split(train, classes=count)
        _check_steady(train)
    if validation is None:
        used, held = split.holdout(float(source.validation), recipe.seed)
    else:
        used, held = split, as_split(validation, classes=lambda x: split.num_classes)
        _check_alike(split, held)
    return split, _with_extra(_some(used, recipe), recipe), held


def _check_steady(train: Any) -> None:
    """Raise ValueError if a Dataset has random transforms: it is read only once, so its images would never vary."""
    if not isinstance(train, Dataset) or not hasattr(train, "__len__"):
        return
    some, seen = range(min(FEW, len(train))), set()
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            seen.add(as_split([train[i] for i in some]).fingerprint())
    if len(seen) > 1:
        raise ValueError(f"{name_of(train)} draws its transforms anew, and as it is read once, each image would be the "
                         "same in every epoch. Put it in a DataLoader(dataset, shuffle=True, ...).")  # fmt: skip


def _loaded(train: Any, validation: Given | None, network: nn.Module | None) -> tuple[Loaded, Loaded, Split]:
    name = name_of(train)
    if validation is None:
        raise ValueError(f"The loader of {name} has no part held out to choose the checkpoint on; give validation=..., "
                         "images that are not among its own.")  # fmt: skip
    names = class_names(train)
    count = None if network is None else counting(network)
    held = as_split(validation, classes=names if names else count)
    loaded = Loaded(train, names or held.classes)
    _check_alike(loaded, held)
    return loaded, loaded, held


def _some(split: Split, recipe: Recipe) -> Split:
    """Return as many training images as the recipe says, stratified by class."""
    wanted = recipe.data.train_images
    if wanted is None or wanted == len(split):
        return split
    if not 0 < wanted < len(split):
        raise ValueError(f"data.train_images must lie between 1 and {len(split)}, all but the held-out; got {wanted}.")
    return split.holdout(wanted / len(split), recipe.seed)[1]


def _with_extra(split: Split, recipe: Recipe) -> Split:
    """Add the generated images that the recipe names."""
    source = recipe.data
    if source.extra_fraction is None:
        return split
    extra = open_extra(source.extra, split.shape, split.classes)
    found = WithExtra(
        split.images, split.labels, split.classes, split.name, extra=extra, fraction=source.extra_fraction
    )
    found.counts(recipe.batch_size)
    return found


def near_test(recipe: Recipe, train: Split | Loaded, most: int | None = None) -> Similar | None:
    """Find generated images that are near-duplicates of test images; only the first `most` are compared.

    Returns:
        `None` if there are none, or no test split of the same shape.
    """
    if not isinstance(train, WithExtra):
        return None
    source = recipe.data
    try:
        reading = source.reading | {"validation": None}
        test = data.load(source.name, "test", source.folder, source.size, source.stream, **reading)
    except (ValueError, OSError, ImportError):  # the user's images, or data without a test split
        return None
    found = similar_to_test(train.extra, test, most) if test.shape == train.shape else None
    return found if found and found.count else None


def _check_alike(train: Split | Loaded, validation: Split) -> None:
    forms = [(split.num_classes, split.shape) for split in (train, validation)]
    if forms[0] != forms[1]:
        told = (f"{classes} classes of {' x '.join(map(str, shape))}" for classes, shape in forms)
        raise ValueError(f"The images to train on and those held out differ: {' and '.join(told)}.")


def check_loader(train: Split | Loaded, recipe: Recipe, rank: int, world: int) -> None:
    """Raise ValueError if the recipe has options that a loader's own batches would not follow."""
    if not isinstance(train, Loaded):
        return
    name, size = train.name, getattr(train.loader, "batch_size", None)
    if recipe.data.augment != "none":
        raise ValueError(f"The loader of {name} has transforms of its own; data.augment ({recipe.data.augment}) would "
                         'not be applied. Set it to "none".')  # fmt: skip
    for option in ("cutout", "mixup", "cutmix", "extra"):
        if value := getattr(recipe.data, option):
            raise ValueError(f"The loader of {name} builds its own batches, so data.{option} ({value}) has no effect. "
                             "Leave it out, or give a Split.")  # fmt: skip
    if recipe.data.train_images is not None:
        raise ValueError(f"The loader of {name} chooses its own images; data.train_images "
                         f"({recipe.data.train_images}) would not be applied. Leave it out.")  # fmt: skip
    if size and size * world != recipe.batch_size:
        batch = f"{size}" if world == 1 else f"{size} in each of {world} processes"
        raise ValueError(f"The loader of {name} has batches of {batch}, the recipe of {recipe.batch_size}. "
                         f"Set batch_size={size * world}.")  # fmt: skip
    if not train.shared_by(rank, world):
        raise ValueError(f"Each of {world} processes would train on the same batches of the loader of {name}. Give it "
                         f"a DistributedSampler(dataset, num_replicas={world}, rank=...).")  # fmt: skip
    if recipe.swa is not None and world > 1:
        raise ValueError("swa estimates the batch-norm of the average by a pass over all images, of which each process "
                         f"has a part of the loader of {name} only. Leave swa out, or give a Split.")  # fmt: skip
