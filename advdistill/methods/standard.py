from dataclasses import dataclass

from ..losses import cross_entropy
from .method import Batch, Losses, Method

__all__ = ["Standard"]


@dataclass
class Standard(Method):
    """Standard training: no attack, no teacher.

        min_S   CE(S(x), y)

    It is for training clean teachers; robust accuracy is near zero.
    """

    teachers = ()

    def inner(self, batch: Batch) -> None:
        return None

    def outer(self, batch: Batch) -> Losses:
        return {"clean": cross_entropy(batch.student(batch.x), batch.targets)}
