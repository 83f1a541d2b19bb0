from dataclasses import dataclass

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["TRADES"]


@dataclass
class TRADES(Method):
    """Trade-off between clean accuracy and equal predictions inside the eps ball.

        x'    = argmax_{|x' - x| <= eps}  KL(S(x) || S(x'))
        min_S   CE(S(x), y) + robust_weight KL(S(x) || S(x'))

    Gradients flow through both sides of the second KL; S(x) is not detached. `robust_weight` is the paper's 1/lambda,
    the released code's beta. The released code forwards the clean batch twice in train mode and so updates the running
    statistics once more; losses and gradients are the same.

    Reference: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy. ICML 2019,
    arXiv:1901.08573.

    >>> import torch
    >>> from advdistill import TRADES, Distiller, models
    >>> student = models.create("convnet-2", in_channels=1)
    >>> distiller = Distiller(TRADES(robust_weight=6.0))  # it has no teacher
    >>> batch = distiller.craft(student, torch.rand(4, 1, 8, 8), torch.arange(4))
    >>> {name: loss.shape for name, loss in distiller.losses(batch, student).items()}
    {'clean': torch.Size([4]), 'robust': torch.Size([4])}
    """

    robust_weight: float = 6.0

    teachers = ()

    def inner(self, batch: Batch) -> Objective:
        clean = batch.student(batch.x)
        return lambda x_adv: kl(clean, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        clean = batch.student(batch.x)
        return {
            "clean": cross_entropy(clean, batch.targets),
            "robust": self.robust_weight * kl(clean, batch.student(batch.x_adv)),
        }
