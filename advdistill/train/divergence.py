"""Detect runs that no longer learn: losses that are not finite, and robustness that collapses."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..attacks import PGD, CustomAttack
from ..results.metrics import losses_of
from .distributed import reduced

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning_fabric import Fabric

__all__ = ["ROLLBACKS", "Diverged", "Recent", "catastrophic", "remedy"]

ROLLBACKS = 3  # at most: if an eighth of the learning rate still diverges, something else is wrong
COLLAPSED = 0.5  # robust accuracy falls to this share of the earlier one or less
LOST = 0.1  # and by at least this much: with few held-out images, a small accuracy can be halved by chance
UNHURT = 0.8  # clean accuracy keeps at least this share of the earlier one
WITHIN = 3  # previous validations to compare with; a slower fall is robust overfitting


class Diverged(ValueError):
    """A loss or a weight is not finite."""


class Recent:
    """Losses of the last steps. They stay on the device until `read`, which makes the CPU wait for the device."""

    def __init__(self, fabric: "Fabric"):
        self.fabric = fabric
        self.rows: list[dict[str, Tensor]] = []

    def add(self, means: dict[str, Tensor]) -> None:
        self.rows.append({name: mean.detach() for name, mean in means.items()})

    def clear(self) -> None:
        self.rows.clear()

    def read(self, step: int, epoch: int) -> list[dict[str, float]]:
        """Return the losses of each step since the last call, by name; means over the images of all processes.

        Args:
            step, epoch: steps done and epochs done, for the message.

        Raises:
            Diverged: a loss is not finite.
        """
        if not self.rows:
            return []
        names = list(self.rows[0])
        losses = torch.stack([torch.stack(list(row.values())) for row in self.rows])
        table = reduced(self.fabric, losses, "mean").tolist()
        self.clear()
        for at, row in enumerate(table, step - len(table) + 1):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    raise Diverged(f"The loss became {value} at step {at} (epoch {epoch + 1}): {name!r} first.")
        return [dict(zip(names, row, strict=True)) for row in table]


def catastrophic(rows: Sequence[dict[str, float]]) -> int | None:
    """Return the epoch at which catastrophic overfitting began, if the last row still shows it; else `None`.

    It begins if, compared with the most robust of the previous three validations, robust accuracy falls to half or less
    and by ten points or more, while clean accuracy keeps four fifths and the training loss does not rise: the student
    is then robust to its training attack alone. It ends when robust accuracy is above that half again.

    Args:
        rows: one per epoch, as in `metrics.jsonl`; rows without a validation are skipped.

    Reference: Wong, Rice and Kolter, Fast is better than free. ICLR 2020.
    """
    since: int | None = None
    before: dict[str, float] = {}
    validated: list[dict[str, float]] = []
    for row in (row for row in rows if "robust" in row):
        if since is None and validated:
            before = max(validated[-WITHIN:], key=lambda r: r["robust"])
            since = int(row["epoch"]) if _collapsed(row, before) else None
        elif since is not None and row["robust"] > COLLAPSED * before["robust"]:
            since = None
        validated.append(row)
    return since


def remedy(attack: PGD | CustomAttack) -> str:
    """Return advice on what to change if robustness has collapsed under this training attack."""
    options = ["more --attack.steps", "a smaller --attack.step-size"]
    if isinstance(attack, PGD) and attack.steps == 1 and attack.projected:
        options.append("the wide start of N-FGSM, --attack.start uniform --attack.start-radius 2 --attack.no-projected")
    return f"The student is robust only to the attack it is trained with; use {', or '.join(options)}."


def _collapsed(row: dict[str, float], before: dict[str, float]) -> bool:
    loss, loss_before = (sum(losses_of(one).values()) for one in (row, before))
    fell = row["robust"] <= min(COLLAPSED * before["robust"], before["robust"] - LOST)
    return fell and row["clean"] >= UNHURT * before["clean"] and loss <= loss_before
