"""RSLAD with the mean of two or three teachers: --teacher A --teachers.second B --teachers.third C"""

from dataclasses import dataclass

import torch

import advdistill as ad
from advdistill.losses import kl


@dataclass
class ThreeTeachers(ad.Method):
    """p = mean of softmax(T_i(x));  x' = argmax KL(p || S(x'));  min_S  5/6 KL(p || S(x')) + 1/6 KL(p || S(x))"""

    adv_weight: float = 5 / 6

    teachers = ("robust", "second", "third")
    optional = ("third",)

    def mean(self, batch):
        """Return the logits of the teachers' mean probabilities, `[B, K]`; kl normalises them."""
        return torch.stack([teacher(batch.x).log_softmax(1) for teacher in batch.teachers.values()]).logsumexp(0)

    def inner(self, batch):
        soft = self.mean(batch)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch):
        soft = self.mean(batch)
        return {
            "adv": self.adv_weight * kl(soft, batch.student(batch.x_adv)),
            "clean": (1 - self.adv_weight) * kl(soft, batch.student(batch.x)),
        }
