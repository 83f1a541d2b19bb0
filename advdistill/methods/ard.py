from dataclasses import dataclass

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["ARD"]


@dataclass
class ARD(Method):
    """Adversarially robust distillation: at x' the student learns the teacher's prediction at x.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        min_S   a scale t^2 KL(T(x)/t || S(x')/t) + (1 - a) CE(S(x), y)

    `distill_weight` is a (the paper's alpha), `temperature` is t (tau). `scale` is 1 for a KL summed over the classes;
    the released code takes the element-wise mean, 1/10 on CIFAR-10 and 1/100 on CIFAR-100. The student is attacked in
    train mode, as released. With a = 1, the default, the clean batch is not forwarded; the released code forwards it,
    which only updates running statistics. Later papers run ARD with temperature 1 and an attack in eval mode.

    Reference: Goldblum et al., Adversarially Robust Distillation. AAAI 2020, arXiv:1905.09747.

    >>> from advdistill import ARD
    >>> ARD(temperature=5.0).teachers, ARD().student_mode
    (('robust',), 'train')
    """

    distill_weight: float = 1.0
    temperature: float = 30.0
    scale: float = 1.0

    start = "uniform_unclamped"
    student_mode = "train"

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        weight = self.distill_weight * self.scale * self.temperature**2
        losses = {"adv": weight * kl(batch.teacher(batch.x), batch.student(batch.x_adv), self.temperature)}
        if self.distill_weight < 1:
            losses["clean"] = (1 - self.distill_weight) * cross_entropy(batch.student(batch.x), batch.targets)
        return losses
