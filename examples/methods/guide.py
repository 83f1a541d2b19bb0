"""A teacher trained with the student, after LBGAT: the guide learns clean images, the student matches it at x'."""

from dataclasses import dataclass

import advdistill as ad
from advdistill.losses import cross_entropy, kl


@dataclass
class Guide(ad.Method):
    """x' = argmax KL(G(x) || S(x'));  min_S KL(G(x) || S(x')),  min_G CE(G(x), y)

    G's learning rate is guide_lr times the student's. G is in eval mode in the attack and in train mode in the losses;
    no gradient of the student's loss reaches it.
    """

    guide_lr: float = 0.5

    teachers = ("guide",)
    trained = ("guide",)

    def inner(self, batch):
        soft = batch.teachers["guide"](batch.x)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch):
        guide = batch.teachers["guide"](batch.x)
        return {"adv": kl(guide.detach(), batch.student(batch.x_adv)), "guide": cross_entropy(guide, batch.targets)}

    def parameter_group(self, name, settings, progress):
        return {**settings, "lr": self.guide_lr * settings["lr"]}
