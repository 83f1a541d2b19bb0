"""Two different x': one against the teacher's output, one against the label."""

from dataclasses import dataclass

import advdistill as ad
from advdistill.losses import cross_entropy, kl


@dataclass
class TwoAttacks(ad.Method):
    """x'_1 = argmax KL(T(x) || S(x')),  x'_2 = argmax CE(S(x'), y)

    min_S  KL(T(x) || S(x'_1)) + label_weight CE(S(x'_2), y)
    """

    label_weight: float = 0.5

    def craft(self, batch, attack):
        soft = batch.teacher(batch.x)
        objectives = {
            "soft": lambda x_adv: kl(soft, batch.student(x_adv)),
            "hard": lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets),
        }
        return {name: attack(climbed, batch.x, batch.rng.child(name)) for name, climbed in objectives.items()}

    def outer(self, batch):
        soft, hard = batch.adversarial["soft"], batch.adversarial["hard"]
        return {
            "soft": kl(batch.teacher(batch.x), batch.student(soft)),
            "hard": self.label_weight * cross_entropy(batch.student(hard), batch.targets),
        }
