from dataclasses import dataclass

from torch import Tensor

from ..losses import kl
from .method import Batch, Losses, Method, Objective

__all__ = ["AdaAD"]


@dataclass
class AdaAD(Method):
    """Adaptive adversarial distillation: teacher and student are compared at x', in the attack and in the loss.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x') || S(x'))
        min_S   scale (w KL(T(x') || S(x')) + (1 - w) KL(T(x) || S(x)))

    `adv_weight` is w, the paper's lambda: 1 in the released runs. In the attack the gradient flows through the teacher
    as well. `scale` is 1 for a KL summed over the classes, as released for CIFAR-100; 0.1 is the element-wise mean
    released for CIFAR-10.

    Reference: Huang et al., Boosting Accuracy and Robustness of Student Models via Adaptive Adversarial Distillation.
    CVPR 2023.

    >>> import torch
    >>> from advdistill import AdaAD, Distiller, models
    >>> teacher, student = (models.create(name, in_channels=1) for name in ("convnet-8", "convnet-4"))
    >>> distill = Distiller(AdaAD(adv_weight=0.5), teacher)
    >>> batch = distill.craft(student, torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))
    >>> {name: loss.shape for name, loss in distill.losses(batch, student).items()}
    {'adv': torch.Size([4]), 'clean': torch.Size([4])}
    """

    adv_weight: float = 1.0
    scale: float = 1.0

    released_passes = ("clean",)

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: kl(batch.teacher(x_adv), batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        def distance(x: Tensor) -> Tensor:
            return self.scale * kl(batch.teacher(x), batch.student(x))

        losses = {"adv": self.adv_weight * distance(batch.x_adv)}
        if self.adv_weight < 1:
            losses["clean"] = (1 - self.adv_weight) * distance(batch.x)
        return losses
