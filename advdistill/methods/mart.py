from dataclasses import dataclass

import torch

from ..losses import cross_entropy, probabilities
from .method import Batch, Losses, Method, Objective

__all__ = ["MART"]


@dataclass
class MART(Method):
    """Misclassification-aware adversarial training.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        min_S   CE(S(x'), y) - log(1 - max_{k != y} q_k) + robust_weight (1 - r_y) KL(r || q)
        r     = softmax(S(x)),  q = softmax(S(x'))

    `robust_weight` is the paper's lambda. As released, the two ones are 1.0001 and 1.0000001, 1e-12 is added inside the
    logarithms, and gradients flow through r and through the weight 1 - r_y.

    Reference: Wang et al., Improving Adversarial Robustness Requires Revisiting Misclassified Examples. ICLR 2020.
    """

    robust_weight: float = 5.0

    teachers = ()

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        adv = batch.student(batch.x_adv)
        clean, q = batch.student(batch.x), adv.softmax(1)
        log_r = clean.log_softmax(1)  # finite where r is 0
        runner_up = q.scatter(1, batch.y[:, None], -torch.inf).amax(1)
        divergence = (log_r.exp() * (log_r - (q + 1e-12).log())).sum(1)
        return {
            "adv": cross_entropy(adv, batch.targets) - (1.0001 - runner_up + 1e-12).log(),
            "robust": self.robust_weight * (1.0000001 - probabilities(clean, batch.y)) * divergence,
        }
