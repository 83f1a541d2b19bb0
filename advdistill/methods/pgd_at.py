from dataclasses import dataclass

from ..losses import cross_entropy
from .method import Batch, Losses, Method, Objective

__all__ = ["PGDAT"]


@dataclass
class PGDAT(Method):
    """PGD adversarial training, the baseline without a teacher.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        min_S   CE(S(x'), y)

    The student is attacked in eval mode, as the distillation papers run this baseline; the authors' TensorFlow graph
    attacks in train mode: `PGD(student_mode="train")`.

    Reference: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018, arXiv:1706.06083,
    eq. 2.1.

    >>> import torch
    >>> from advdistill import PGDAT, Batch
    >>> x_adv, y = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).view(2, 2, 1, 1), torch.tensor([0, 1])
    >>> PGDAT().outer(Batch(x_adv - 0.1, y, student=lambda x: x.flatten(1), x_adv=x_adv))
    {'adv': tensor([0.1269, 0.6931])}
    """

    teachers = ()
    released_passes = ("clean",)
    start = "uniform"

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        return {"adv": cross_entropy(batch.student(batch.x_adv), batch.targets)}
