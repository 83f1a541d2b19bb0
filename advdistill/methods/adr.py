import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["ADR"]

SELF = "self_teacher"


@dataclass
class ADR(Method):
    """Annealed self-distillation rectification: soft labels from an average of the student, trusted more and more.

        E     <- d E + (1 - d) S   after every step, running statistics too
        P      = softmax(E(x)/t),   a_i = clip(a - (max_k P_k - P_y), 0, 1),   q = a_i P + (1 - a_i) onehot(y)
        x'     = argmax_{|x' - x| <= eps}  CE(S(x'), q)
        min_S    CE(S(x'), q)
        with b > 0:   x' = argmax KL(S(x) || S(x')),   min_S CE(S(x), q) + b KL(S(x) || S(x'))

    `decay` is d, `robust_weight` is b (beta): 0 is ADR on PGD-AT, 6 is ADR on TRADES. t (tau) falls from
    `first_temperature` to `last_temperature`, a (lambda) rises from `first_trust` to `last_trust`, along half a cosine.
    Defaults are for CIFAR-10. CIFAR-100 has t 1.5 to 1; Tiny-ImageNet t 2 to 1.5 and a 0.5 to 0.9. With weight
    perturbation (0.005), CIFAR-10 has t 2.5 to 1.5 and a 0.7 to 0.85. The release changes t and a at every step. For
    mixed images, the distribution over their labels replaces onehot(y), and P_y is P's mean under that distribution.

    Reference: Wu et al., Annealing Self-Distillation Rectification Improves Adversarial Training. ICLR 2024,
    arXiv:2305.12118.
    """

    first_temperature: float = 2.5
    last_temperature: float = 2.0
    first_trust: float = 0.7
    last_trust: float = 0.95
    robust_weight: float = 0.0
    decay: float = 0.995

    teachers = ()
    start = "uniform"
    student_mode = "train"
    own_teacher = "learns from its own average"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first_trust", "last_trust", "decay"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} of ADR must be a share, at most 1; got {getattr(self, name)}.")

    def modules(self, batch: Batch) -> Mapping[str, nn.Module]:
        return {SELF: batch.copied_student()}

    def after_step(self, student: nn.Module, modules: Mapping[str, nn.Module]) -> None:
        pairs = zip(modules[SELF].state_dict().values(), student.state_dict().values(), strict=True)
        with torch.no_grad():
            for mean, value in pairs:
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - self.decay)
                else:
                    mean.copy_(value)

    def label(self, batch: Batch) -> Tensor:
        """Return q, `[B, K]`, without gradient."""
        done = (1 + math.cos(math.pi * float(batch.progress))) / 2  # from 1 to 0
        temperature = self.last_temperature + (self.first_temperature - self.last_temperature) * done
        trust = self.last_trust + (self.first_trust - self.last_trust) * done
        with torch.no_grad():
            p = (batch.modules[SELF](batch.x).to(batch.x.dtype) / temperature).softmax(1)
            y = batch.targets if batch.targets.ndim == 2 else one_hot(batch.targets, p.shape[1]).to(p.dtype)
            doubt = p.amax(1, keepdim=True) - (p * y).sum(1, keepdim=True)
            share = (trust - doubt).clamp(0, 1)
            return share * p + (1 - share) * y

    def inner(self, batch: Batch) -> Objective:
        label = batch.notes["label"] = self.label(batch)
        if not self.robust_weight:
            return lambda x_adv: cross_entropy(batch.student(x_adv), label)
        clean = batch.student(batch.x)
        return lambda x_adv: kl(clean, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        label = batch.notes["label"]
        if not self.robust_weight:
            return {"adv": cross_entropy(batch.student(batch.x_adv), label)}
        clean = batch.student(batch.x)
        robust = self.robust_weight * kl(clean, batch.student(batch.x_adv))
        return {"clean": cross_entropy(clean, label), "robust": robust}
