import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["BMTARD", "CIARD", "MTARD"]


@dataclass
class MTARD(Method):
    """Multi-teacher adversarial robustness distillation: T at x', N at x; the loss that falls less gets more weight.

        x'      = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        L_adv   = scale KL(T(x') || S(x')),   L_nat = scale KL(N(x) || S(x))
        r_m     = L_m / L_m(first batch)
        w_nat  <- w_nat - rate_w (w_nat - r_nat / (r_nat + r_adv)),   w_adv = 1 - w_nat
        min_S     w_adv L_adv + w_nat L_nat,   with the weights just updated

    `weight_rate` is rate_w; it follows the learning rate's schedule. The paper's exponent beta is 1. `scale` is 1 for a
    KL summed over the classes; the release has 0.1, on CIFAR-10 and CIFAR-100. Both KL have its offset of 1e-5.

    Reference: Zhao et al., Enhanced Accuracy and Robustness via Multi-Teacher Adversarial Distillation. ECCV 2022.
    """

    weight_rate: float = 0.025
    scale: float = 1.0

    teachers = ("robust", "clean")

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        return self.balanced(batch, batch.teacher(batch.x_adv), batch.clean_teacher(batch.x))

    def balanced(self, batch: Batch, soft_adv: Tensor, soft_nat: Tensor, weights: float | Tensor = 1.0) -> Losses:
        """Return both losses, times the images' `weights`, `[B]`, and times w_adv and w_nat of the weighted losses."""
        adv = weights * self.scale * kl(soft_adv, batch.student(batch.x_adv), offset=1e-5)
        nat = weights * self.scale * kl(soft_nat, batch.student(batch.x), offset=1e-5)
        w_adv, w_nat = self.weigh(torch.stack([batch.mean(adv.detach()), batch.mean(nat.detach())]), batch.rate)
        return {"adv": w_adv * adv, "clean": w_nat * nat}

    def weigh(self, losses: Tensor, rate: float | Tensor) -> Tensor:
        """Move the weights (adversarial, natural) toward the shares of the relative losses; return the new weights."""
        first = self.state.setdefault("first_losses", losses)
        weights = self.state.get("weights", torch.full_like(losses, 0.5))
        relative = losses / first.clamp(min=torch.finfo(first.dtype).tiny)  # a coefficient of 0 makes both losses 0
        share = relative / relative.sum().clamp(min=torch.finfo(first.dtype).tiny)
        weights = weights - rate * self.weight_rate * (weights - share)
        self.state["weights"] = weights.clamp(min=0) / weights.clamp(min=0).sum()
        return self.state["weights"]

    def figures(self) -> dict[str, float]:
        return pair("weight", self.state["weights"])


def pair(name: str, values: Tensor) -> dict[str, float]:
    """Name two values: the adversarial and the clean one."""
    return dict(zip((f"{name}/adv", f"{name}/clean"), values.tolist(), strict=True))


@dataclass
class BMTARD(MTARD):
    """Balanced MTARD: a temperature for each teacher brings the teachers' entropies together.

        L_adv   = scale KL(T(x')/t_adv || S(x')),   L_nat = scale KL(N(x)/t_nat || S(x))
        h_m     = mean of p log p at the temperatures just used
        t_m    <- clip_[1, 10](t_m - rate_t sign(h_m / h_other - 1)),   used from the next step on
        weights as in MTARD

    `temperature_rate` is rate_t; both rates follow the learning rate's schedule. The student's temperature is 1, and
    there is no factor t^2. Only a CIFAR-10 script is released; its scale is 0.1.

    Reference: Zhao, Wang and Wei, Mitigating Accuracy-Robustness Trade-off via Balanced Multi-Teacher Adversarial
    Distillation. TPAMI 2024, arXiv:2306.16170.
    """

    temperature_rate: float = 0.001

    def outer(self, batch: Batch) -> Losses:
        return self.balanced(batch, *tempered(self, batch))

    def figures(self) -> dict[str, float]:
        return super().figures() | pair("temperature", self.state["temperatures"])


def tempered(method: "BMTARD | CIARD", batch: Batch) -> tuple[Tensor, Tensor]:
    """Return T(x')/t_adv and N(x)/t_nat, and update the temperatures for the next step."""
    adv, nat = batch.teacher(batch.x_adv).detach(), batch.clean_teacher(batch.x)
    t_adv, t_nat = temperatures = method.state.get("temperatures", torch.ones(2, device=adv.device, dtype=adv.dtype))
    entropies = torch.stack([batch.mean(negative_entropy(adv / t_adv)), batch.mean(negative_entropy(nat / t_nat))])
    step = batch.rate * method.temperature_rate * (entropies / entropies.flip(0) - 1).sign()
    method.state["temperatures"] = (temperatures - step).clamp(1, 10)
    return adv / t_adv, nat / t_nat


def negative_entropy(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return (p * (p + 1e-5).log()).sum(1)


@dataclass
class CIARD(Method):
    """Cyclic iterative ARD: B-MTARD's teachers; T is trained too, and the student is pushed away from N where N errs.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        L1    = scale KL(T(x')/t_adv || S(x')),   L2 = scale KL(N(x)/t_nat || S(x))
        P     = scale KL(N(x') || S(x')/5), averaged over the images with argmax N(x') != y
        s     = 10^(min(floor(log10 L1), floor(log10 L2)) - floor(log10 P))
        min_S   L1 + L2 - s P
        min_T   CE(T(x'), y),   from progress > begin on

    Temperatures as in B-MTARD. As released, S(x) is computed in train mode before the attack, so the attack uses
    running statistics updated by x. T is in train mode and gets no gradient from the student's losses. With q the
    finished share of the training after `begin`, T's learning rate is teacher_lr (1 + cos(pi q)) / 2 exp(-q^2 / 100).
    `begin` is 50 of 300 epochs. If N makes no error, there is no P. The release multiplies the temperatures' rate by
    0.1 at every step from the first milestone on; here it follows the student's schedule. The release has `scale` 0.1,
    on CIFAR-10.

    Reference: Lu et al., CIARD: Cyclic Iterative Adversarial Robustness Distillation. ICCV 2025, arXiv:2509.12633.
    """

    scale: float = 1.0
    temperature_rate: float = 0.001
    push_temperature: float = 5.0
    begin: float = 1 / 6
    teacher_lr: float = 1e-4
    teacher_momentum: float = 0.1
    teacher_weight_decay: float = 2e-4

    teachers = ("robust", "clean")
    trained = ("robust",)
    clean_first = True

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        soft_adv, soft_nat = tempered(self, batch)
        nat = self.scale * kl(soft_nat, batch.student(batch.x), offset=1e-5)  # x first, as released
        adv = self.scale * kl(soft_adv, batch.student(batch.x_adv), offset=1e-5)
        return {
            "adv": adv,
            "clean": nat,
            "push": self.push(batch, [batch.mean(adv), batch.mean(nat)]),
            "teacher": cross_entropy(batch.teacher(batch.x_adv), batch.targets),
        }

    def figures(self) -> dict[str, float]:
        return pair("temperature", self.state["temperatures"])

    def push(self, batch: Batch, losses: list[Tensor]) -> Tensor:
        """Return one number per image, whose mean over the whole batch is -s P; s is 0 if N makes no error."""
        natural = batch.clean_teacher(batch.x_adv)
        wrong = (natural.argmax(1) != batch.y).to(natural.dtype)
        distance = wrong * kl(natural, batch.student(batch.x_adv) / self.push_temperature, offset=1e-5)
        distance = self.scale * distance / batch.mean(wrong).clamp(min=1e-12)
        size = batch.mean(distance)
        magnitudes = [value.log10().floor() for value in (*losses, size)]
        scale = 10 ** (torch.minimum(magnitudes[0], magnitudes[1]) - magnitudes[2])
        # without an error `scale` is infinite, and the gradient of `scale * distance` is NaN, even inside `where`
        return -torch.where(size > 0, scale, 0.0) * distance

    def parameter_group(self, name: str, settings: Mapping[str, Any], progress: float) -> Mapping[str, Any]:
        done = max(0.0, (progress - self.begin) / (1 - self.begin))
        rate = (1 + math.cos(math.pi * done)) / 2 * math.exp(-(done**2) / 100) if done else 0.0
        own = {"lr": self.teacher_lr * rate, "weight_decay": self.teacher_weight_decay}
        return {**settings, **own, "momentum": self.teacher_momentum}
