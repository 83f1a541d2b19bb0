from dataclasses import dataclass

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["HAT"]


@dataclass
class HAT(Method):
    """Helper-based adversarial training: a helper image beyond x' gets the label that a standard network gives x'.

        x'    = argmax_{|x' - x| <= eps}  KL(S(x) || S(x'))
        x_h   = x + h (x' - x),   y_h = argmax N(x')
        min_S   CE(S(x), y) + b KL(S(x) || S(x')) + g CE(S(x_h), y_h)

    `overshoot` is h, `robust_weight` is b (beta), `helper_weight` is g (gamma). x_h is neither clamped to [0, 1] nor to
    eps, as released. Gradients flow through both sides of the KL.

    Reference: Rade and Moosavi-Dezfooli, Reducing Excessive Margin to Achieve a Better Accuracy vs. Robustness
    Trade-off. ICLR 2022.
    """

    robust_weight: float = 2.5
    helper_weight: float = 0.5
    overshoot: float = 2.0

    teachers = ("clean",)

    def inner(self, batch: Batch) -> Objective:
        clean = batch.student(batch.x)
        return lambda x_adv: kl(clean, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        clean, adv = batch.student(batch.x), batch.student(batch.x_adv)
        helper = batch.student(batch.x + self.overshoot * (batch.x_adv - batch.x))
        return {
            "clean": cross_entropy(clean, batch.targets),
            "robust": self.robust_weight * kl(clean, adv),
            "helper": self.helper_weight * cross_entropy(helper, batch.clean_teacher(batch.x_adv).argmax(1)),
        }
