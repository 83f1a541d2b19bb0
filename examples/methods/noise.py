"""Noise drawn inside a method: the student's outputs with and without noise should agree."""

from dataclasses import dataclass

import advdistill as ad
from advdistill.losses import cross_entropy, kl


@dataclass
class Noise(ad.Method):
    """x' = argmax CE(S(x'), y);  min_S  CE(S(x'), y) + weight KL(S(x') || S(x' + n)),  n ~ N(0, sigma^2)"""

    weight: float = 1.0
    sigma: float = 0.05

    teachers = ()

    def inner(self, batch):
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch):
        adv = batch.student(batch.x_adv)
        noisy = (batch.x_adv + self.sigma * batch.rng.normal(batch.x_adv)).clamp(0, 1)
        return {
            "adv": cross_entropy(adv, batch.targets),
            "noise": self.weight * kl(adv, batch.student(noisy)),
        }
