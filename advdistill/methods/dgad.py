from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses import kl
from .method import Batch, Losses, Method, Objective

__all__ = ["DGAD"]


@dataclass
class DGAD(Method):
    """Dynamic guidance adversarial distillation: the student learns x if the teacher errs on x, otherwise x'.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x') || S(x'))
        min_S   [T errs on x] KL(T~(x) || S(x)) + [T is right] KL(T~(x') || S(x')) + w mean_k (p_k(S(x')) - p_k(S(x)))^2

    T~ is T with the true label's logit swapped with the largest one if another label has the largest, both at x and at
    x'. `consistency_weight` is w (the paper's beta); neither side of its term is detached. Every example of the batch
    is attacked, as released. The released MobileNetV2 branch multiplies terms that it should add, and scales a smaller
    last batch by the nominal batch size; neither is reproduced here.

    Reference: Park and Min, Dynamic Guidance Adversarial Distillation with Enhanced Teacher Knowledge. ECCV 2024,
    arXiv:2409.01627.
    """

    consistency_weight: float = 1.0

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: kl(batch.teacher(x_adv), batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        def distance(x: Tensor) -> Tensor:
            return kl(corrected(batch.teacher(x), batch.y), batch.student(x))

        clean, adv = batch.student(batch.x), batch.student(batch.x_adv)
        errs = batch.teacher(batch.x).argmax(1) != batch.y
        return {
            "guided": torch.where(errs, distance(batch.x), distance(batch.x_adv)),
            "consistency": self.consistency_weight * (adv.softmax(1) - clean.softmax(1)).square().mean(1),
        }


def corrected(logits: Tensor, y: Tensor) -> Tensor:
    """Swap the true label's logit with the largest one; nothing changes if it is the largest already."""
    true, lead = y[:, None], logits.argmax(1, keepdim=True)
    return logits.scatter(1, true, logits.gather(1, lead)).scatter(1, lead, logits.gather(1, true))
