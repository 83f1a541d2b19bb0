"""Check whether a method supports the labels of a run: mixed, smoothed, or missing."""

import torch.nn.functional as F
from torch import nn

from ..attacks import CustomAttack
from ..data import Split
from ..data.batches import to_float
from ..data.loaded import Loaded
from ..data.with_extra import WithExtra
from ..distiller import Distiller
from ..methods.labels import check_labels
from ..methods.roles import name_of
from ..recipe import Recipe

__all__ = ["check_use_of_labels"]


def check_use_of_labels(recipe: Recipe, train: Split | Loaded, distiller: Distiller, student: nn.Module) -> None:
    """Raise ValueError if the method does not support the labels; it is run on two images to find out.

    Args:
        distiller: already prepared, see `Distiller.prepare`.
    """
    mixing = [f"data.{name}" for name in ("mixup", "cutmix") if getattr(recipe.data, name)]
    missing = isinstance(train, WithExtra) and train.extra.labels is None
    smoothed = recipe.label_smoothing > 0
    if not (mixing or missing or smoothed):
        return
    if missing and (recipe.label_mixing or isinstance(recipe.attack, CustomAttack)):
        what = f"label_mixing ({recipe.label_mixing:g})" if recipe.label_mixing else "a CustomAttack"
        raise ValueError(f"{what} uses labels, and the generated images of data.extra have none. Leave it out, or give "
                         "files with 'label'.")  # fmt: skip
    images = to_float(train.images[:2])
    targets = F.one_hot(train.labels[: len(images)], train.num_classes).float()
    used, mixed = distiller.labels_used(student, images, targets), " and ".join(mixing)
    stop = getattr(recipe.attack, "stop_after", None)
    check_labels(used, name_of(distiller.method), mixed=mixed, smoothed=smoothed, missing=missing, stop_after=stop)
    if mixed and getattr(recipe.attack, "start", None) == "last":
        raise ValueError(f"start='last' begins at the last x' of the same image, and with {mixed} it is another "
                         "mixture each time. Leave out one of the two.")  # fmt: skip
