from dataclasses import dataclass

from ..losses import kl
from .method import Batch, Losses, Term

__all__ = ["IGDM"]


@dataclass
class IGDM(Term):
    """Indirect gradient distillation: matches the change of logits across x, which for a locally linear teacher is
    its input gradient along d. Added to any method; the attack is the method's.

        weight progress KL(T(x + b d) - T(x - g d) || S(x + b d) - S(x - g d)),   d = x' - x

    `weight` is the paper's alpha, `plus` is b (beta), `minus` is g (gamma); progress is epoch / epochs. Neither point
    is clipped to [0, 1], as in the paper. Gradients flow through both forward passes of the student. The pass at
    x - g d does not update batch-norm's running statistics; in the release it does.

    Reference: Lee, Cho and Kim, Indirect Gradient Matching for Adversarial Robust Distillation. ICLR 2025,
    arXiv:2312.03286.

    >>> from advdistill import IGDM, AdaAD
    >>> method = AdaAD() + IGDM(weight=5)
    >>> [type(part).__name__ for part in method.parts]
    ['AdaAD', 'IGDM']
    """

    weight: float = 1.0
    plus: float = 1.0
    minus: float = 1.0

    released_passes = ("adv",)
    caution = "IGDM takes changes of the teacher's logits for its input gradient; that needs a locally linear teacher."

    def outer(self, batch: Batch) -> Losses:
        d = batch.x_adv - batch.x
        x_plus = batch.x_adv if self.plus == 1 else batch.x + self.plus * d
        x_minus = batch.x - self.minus * d
        teacher = (batch.teacher(x_plus) - batch.teacher(x_minus)).detach()
        student = batch.student(x_plus) - batch.untracked(x_minus)
        return {"gradient": self.weight * batch.progress * kl(teacher, student)}
