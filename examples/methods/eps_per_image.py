"""An eps for each image, which grows while the student classifies x' correctly, after MMA and CAT."""

from dataclasses import dataclass

import advdistill as ad
from advdistill.losses import cross_entropy


@dataclass
class EpsPerImage(ad.Method):
    """x'_i = argmax_{|x' - x_i| <= eps_i} CE(S(x'), y_i);  min_S CE(S(x'_i), y_i)

    eps_i begins at start * eps. At each visit of image i it grows by step * eps if S(x'_i) is correct, else it shrinks
    by as much; it stays in [0, eps]. eps is the threat model's.
    """

    start: float = 0.25
    step: float = 0.25

    teachers = ()

    def eps(self, batch):
        return self.recall(batch, "eps", self.start * batch.threat.eps)

    def craft(self, batch, attack):
        objective = lambda x_adv: cross_entropy(batch.student(x_adv), batch.y)  # noqa: E731
        return attack.within(self.eps(batch))(objective, batch.x, batch.rng)

    def outer(self, batch):
        logits, most = batch.student(batch.x_adv), batch.threat.eps
        right = 2 * (logits.argmax(1) == batch.y).float() - 1
        self.remember(batch, "eps", (self.eps(batch) + self.step * most * right).clamp(0, most))
        return {"adv": cross_entropy(logits, batch.y)}
