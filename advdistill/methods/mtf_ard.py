from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses import cross_entropy, jensen_shannon
from .method import Batch, Losses, Method, Objective

__all__ = ["MTFARD"]


@dataclass
class MTFARD(Method):
    """Multi-teacher fusion: several teachers at x'; for each image, teachers with a smaller loss get more weight.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        l_k   = CE(T_k(x'), y),   w_k = (1 - softmax_k(l)) / (n - 1)   for each image, over its n teachers
        min_S   fused_weight JS(S(x'), sum_k w_k T_k(x')) + label_weight CE(S(x'), y)

    The weights of an image add up to 1. The release is for person re-identification. It also has weights by the
    similarity of features through a learned projection (0.3), a triplet loss (0.05), teachers in train mode, and the
    triplet loss as l; these are not implemented here. The release's weights 0.6 and 0.05 are the defaults.

    Reference: Robust Person Re-identification via Multi-Teacher Adversarial Distillation with Logit Fusion, the release
    of yinghualuo614 (MTF-ARD) as read. GitHub 2026.
    """

    fused_weight: float = 0.6
    label_weight: float = 0.05

    teachers = ("robust", "clean", "second", "third")
    optional = ("clean", "second", "third")
    start = "uniform"

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        adv = batch.student(batch.x_adv)
        return {
            "fused": self.fused_weight * jensen_shannon(adv, self.fused(batch)),
            "label": self.label_weight * cross_entropy(adv, batch.targets),
        }

    def fused(self, batch: Batch) -> Tensor:
        """sum_k w_k T_k(x'), `[B, K]`."""
        answers = [batch.teachers[role](batch.x_adv) for role in self.teachers if role in batch.teachers]
        if len(answers) < 2:
            raise ValueError(
                "MTFARD weighs several teachers against each other and was given one. Give --clean-teacher or "
                "--teachers.second as well, or choose a method with one teacher."
            )
        losses = torch.stack([cross_entropy(logits, batch.targets) for logits in answers])
        weights = (1 - losses.softmax(0)) / (len(answers) - 1)
        return (weights[:, :, None] * torch.stack(answers)).sum(0)
