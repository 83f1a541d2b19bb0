from dataclasses import dataclass

from torch import Tensor

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["LBGAT", "AdaGAT"]


def squared(first: Tensor, second: Tensor) -> Tensor:
    """Return mean_k (first_k - second_k)^2 of logits `[B, K]`: `[B]`."""
    return (first - second).square().mean(1)


@dataclass
class LBGAT(Method):
    """Learnable boundary guided adversarial training: a guide P learns clean images, the student follows it at x'.

        x'        = argmax_{|x' - x| <= eps}  KL(S(x) || S(x'))
        min_P,S     CE(P(x), y) + mean_k (S_k(x') - P_k(x))^2 + robust_weight KL(S(x) || S(x'))

    Nothing is detached: S(x') also pulls the guide, which makes the boundary learnable. The student learns no labels.
    `robust_weight` is beta: 0 is LBGAT0, 6 is LBGAT6. The guide has the role `peer`.

    Reference: Cui et al., Learnable Boundary Guided Adversarial Training. ICCV 2021, arXiv:2011.11164.
    """

    robust_weight: float = 6.0

    teachers = ("peer",)
    trained = ("peer",)

    def inner(self, batch: Batch) -> Objective:
        clean = batch.student(batch.x)
        return lambda x_adv: kl(clean, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        adv, clean, guide = batch.student(batch.x_adv), batch.student(batch.x), batch.peer(batch.x)
        losses = {"guide": cross_entropy(guide, batch.targets), "adv": squared(adv, guide)}
        if self.robust_weight:
            losses["robust"] = self.robust_weight * kl(clean, adv)
        return losses


@dataclass
class AdaGAT(Method):
    """Adaptive guidance: LBGAT without the student's KL, and a further loss that pulls only the guide to the student.

        x'        = argmax_{|x' - x| <= eps}  KL(S(x) || S(x'))
        min_P,S     CE(P(x), y) + mean_k (S_k(x') - P_k(x))^2 + guide_weight mean_k (sg S_k(x') - P_k(x))^2

    sg stops the gradient, so the guide is pulled 1 + guide_weight times as hard as the student. The release cannot be
    run; this is the line that is commented out in its loss, with its factor 2.5; the active line is LBGAT0. The paper's
    form with a root of the mean square is neither in the release nor here. The guide has the role `peer`.

    Reference: Liu et al., AdaGAT: Adaptive Guidance Adversarial Training for the Robustness of Deep Neural Networks.
    PRCV 2025, arXiv:2508.17265.
    """

    guide_weight: float = 2.5

    teachers = ("peer",)
    trained = ("peer",)
    released_passes = ("clean",)

    def inner(self, batch: Batch) -> Objective:
        clean = batch.student(batch.x)
        return lambda x_adv: kl(clean, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        adv, guide = batch.student(batch.x_adv), batch.peer(batch.x)
        return {
            "guide": cross_entropy(guide, batch.targets),
            "adv": squared(adv, guide),
            "guide_adv": self.guide_weight * squared(adv.detach(), guide),
        }
