from dataclasses import dataclass

from ..losses import kl
from .method import Batch, Losses, Method, Objective

__all__ = ["RSLAD"]


@dataclass
class RSLAD(Method):
    """Robust soft label adversarial distillation: the teacher's prediction at x is the only target, no hard label.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x) || S(x'))
        min_S   scale (5/6 KL(T(x) || S(x')) + 1/6 KL(T(x) || S(x)))

    `scale` is 1 for a KL summed over the classes; the released loss has 0.1, both on CIFAR-10 (element-wise mean) and
    on CIFAR-100 (ten times that mean). The offset of 1e-5 is the released code's; it does not change the gradient.

    Reference: Zi et al., Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make Student Better.
    ICCV 2021, arXiv:2108.07969, eq. 5-6.

    >>> import torch
    >>> from advdistill import PGD, RSLAD, Distiller, Linf, models
    >>> teacher, student = (models.create(name, in_channels=1) for name in ("convnet-8", "convnet-4"))
    >>> distill = Distiller(RSLAD(scale=0.1), teacher, attack=PGD(steps=2, threat=Linf("8/255")))
    >>> loss = distill(student, torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))  # a scalar
    >>> loss.backward()
    """

    adv_weight: float = 5 / 6
    clean_weight: float = 1 / 6
    scale: float = 1.0

    def inner(self, batch: Batch) -> Objective:
        soft = batch.teacher(batch.x)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        soft = batch.teacher(batch.x)
        return {
            "adv": self.scale * self.adv_weight * kl(soft, batch.student(batch.x_adv), offset=1e-5),
            "clean": self.scale * self.clean_weight * kl(soft, batch.student(batch.x), offset=1e-5),
        }
