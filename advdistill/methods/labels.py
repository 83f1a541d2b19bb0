"""Find out which labels a method uses, by running the method without them."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, NoReturn

import torch

from .method import Batch, Method

__all__ = ["check_labels", "labels_used"]

SMOOTHED = "targets of the losses"


class _Absent:
    """A placeholder for labels that raises an error when it is used."""

    def _refuse(self, *arguments: object, **options: object) -> NoReturn:
        raise TypeError("no labels")

    __getattr__ = __getitem__ = __len__ = __iter__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = None  # type: ignore[assignment]  # a dictionary key is a use as well
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse


def labels_used(method: Method, batch: Batch) -> set[str]:
    """Return which of `y` and `targets` of a batch a method's attack or losses use at any time of a training.

    The set also contains `targets of the losses` if the losses use `targets`.

    Args:
        batch: a few images with distributions `[B, K]` as `targets`, and the networks in eval mode. A method that does
            not support distributions counts as one that uses `y`.
    """
    used = {name for name in ("y", "targets") if not _runs_without(method, batch, name, {name})}
    return used if _runs_without(method, batch, "targets", set()) else used | {SMOOTHED}


def _runs_without(method: Method, batch: Batch, name: str, attack_without: Collection[str]) -> bool:
    """Whether the losses can be computed without the labels `name`, and the attack without `attack_without`."""
    absent: Any = _Absent()
    try:
        for progress in (0.0, 1.0):
            run, given = method.fresh(), replace(batch, progress=progress)
            attacked = replace(given, **dict.fromkeys(attack_without, absent))
            objective = run.inner(attacked)
            x = batch.x.clone().requires_grad_()
            with torch.enable_grad():
                if objective is not None:
                    objective(x)
            made = replace(given, notes=attacked.notes, **{name: absent})
            run.outer(made.attacked(batch.x.clone(), batch.student))
    except Exception:  # any operation on the absent labels
        return False
    return True


def check_labels(
    used: Collection[str], name: str, *, mixed: str = "", smoothed: bool = False, missing: bool = False,
    stop_after: int | None = None,
) -> None:  # fmt: skip
    """Raise ValueError if a method uses labels in a way that the labels of a training do not allow.

    Args:
        used: see `labels_used`.
        name: name of the method, for messages.
        mixed: the option that turns labels into distributions, such as "data.mixup"; empty if there is none.
        smoothed: whether the labels in the losses are smoothed.
        missing: whether some images have no label.
        stop_after: setting of the attack, see `PGD`.

    Raises:
        ValueError: labels are distributions and the method or the attack compares them with predictions or indexes by
            them; some labels are missing and the method or the attack uses them; or labels are smoothed and the
            losses use none.
    """
    if stop_after is not None and (mixed or missing):
        lacking = f"with {mixed} an image has two" if mixed else "the generated images of data.extra have none"
        raise ValueError(f"stop_after={stop_after} compares predictions with the label, and {lacking}. Leave out one "
                         "of the two.")  # fmt: skip
    if missing and used:
        raise ValueError(f"{name} uses labels, and the generated images of data.extra have none. Give files with "
                         "'label', or a method whose losses take no labels, such as rslad or adaad.")  # fmt: skip
    if mixed and "y" in used:
        raise ValueError(f"{name} compares the label with predictions or indexes by it, and {mixed} mixes two labels. "
                         "Leave it out, or choose a method without such a comparison.")  # fmt: skip
    if smoothed and SMOOTHED not in used:
        raise ValueError(f"label_smoothing has no effect: no cross-entropy in the losses of {name} is with the label. "
                         "Leave it out.")  # fmt: skip
