"""Methods with values per class that change once an epoch: weights of the images, or temperatures."""

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import cross_entropy, kl
from .ard import ARD
from .iad import IAD
from .method import Batch, Losses, Method, Objective
from .mtard import MTARD
from .rslad import RSLAD

__all__ = ["ABSLD", "FairARD", "FairIAD", "FairMTARD", "FairRSLAD"]


class ByClass(Method):
    """A method that averages values over the images of each class and over an epoch."""

    def add(self, batch: Batch, values: Tensor, classes: int) -> None:
        """Add this step's values, `[B, M]`, to the sums of the epoch."""
        values = torch.cat([values, torch.ones_like(values[:, :1])], 1).detach()
        rows = F.one_hot(batch.y, classes)[:, :, None] * values[:, None]
        self.state["sums"] = self.state.get("sums", 0) + batch.total(rows)

    def means(self) -> Tensor:
        """Return the means of the epoch that ends, `[K, M]`, and clear the sums.

        Raises:
            ValueError: a class had no image in this epoch.
        """
        *sums, images = self.state.pop("sums").unbind(1)
        if (empty := (images == 0).nonzero()).numel():
            raise ValueError(
                f"{type(self).__name__} needs images of every class in every epoch; class {empty[0].item()} had none."
            )
        return torch.stack(sums, 1) / images[:, None]


@dataclass
class ClassWeighted(ByClass):
    """A method whose losses are weighted by class: `class FairARD(ClassWeighted, ARD)` weights the losses of ARD.

        k_c   = attack iterates that S still classifies correctly; mean over class c and the epoch before
        w_c   = (1 / (k_c + 1e-5))^class_exponent, scaled to sum K, then clipped to [5/6, 5/2]; 1 in the first epoch
    """

    class_exponent: float = 2.0

    def inner(self, batch: Batch) -> Objective:
        correct = batch.notes["correct"] = torch.zeros(len(batch.y), device=batch.x.device, dtype=batch.x.dtype)

        def student(x: Tensor) -> Tensor:
            logits = batch.student(x)
            if x.requires_grad:  # an iterate of the attack
                correct.add_(logits.argmax(1) == batch.y)
            return logits

        return cast(Objective, super().inner(replace(batch, student=student)))

    def outer(self, batch: Batch) -> Losses:
        weights = self.weights(batch)
        return {name: weights * loss for name, loss in super().outer(batch).items()}

    def weights(self, batch: Batch) -> Tensor:
        """Return w_y of each image, `[B]`, and add the attack's counts of this batch to the sums of the epoch."""
        classes = batch.student(batch.x_adv).shape[1]
        self.add(batch, batch.notes["correct"][:, None], classes)
        return self.state.get("class_weights", batch.x.new_ones(classes))[batch.y]

    def end_epoch(self, rate: float) -> None:
        correct = self.means()[:, 0] + 1e-5
        weights = (correct.min() / correct) ** self.class_exponent  # at most 1, whatever the exponent
        self.state["class_weights"] = (weights * len(weights) / weights.sum()).clamp(5 / 6, 5 / 2)

    def figures(self) -> dict[str, float]:
        return super().figures() | extremes("class_weight", self.state["class_weights"])


def extremes(name: str, values: Tensor) -> dict[str, float]:
    return {f"{name}/min": values.min().item(), f"{name}/max": values.max().item()}


@dataclass
class FairARD(ClassWeighted, ARD):
    """ARD with class weights: classes whose images the attack breaks early count for more.

        k_c     = mean over class c of the attack iterates that S still classifies correctly, over the epoch before
        w_c     = (1 / (k_c + 1e-5))^b, scaled to sum K, then clipped to [5/6, 5/2]; 1 in the first epoch
        min_S     w_y ARD(x, y)

    `class_exponent` is b (beta); the rest is as in ARD. The release has `scale` 0.1.

    Reference: Revisiting Adversarial Robustness Distillation from the Perspective of Robust Fairness. NeurIPS 2023.
    """


@dataclass
class FairIAD(ClassWeighted, IAD):
    """IAD-I with the class weights of FairARD (`class_exponent` is b, beta); the label's term is at x'.

        L   = w t^2 KL(T(x)/t || S(x')/t) + [progress > begin] (w (1 - a) KL(S(x) || S(x')) + (1 - w) CE(S(x'), y))

    The rest is as in IAD. IAD's label term is at x from the first epoch on; with w = 1, the default, neither has one.

    Reference: Revisiting Adversarial Robustness Distillation from the Perspective of Robust Fairness. NeurIPS 2023.
    """

    def label(self, batch: Batch) -> Losses:
        if self.distill_weight >= 1 or batch.progress <= self.begin:
            return {}
        return {"label": (1 - self.distill_weight) * cross_entropy(batch.student(batch.x_adv), batch.targets)}


@dataclass
class FairRSLAD(ClassWeighted, RSLAD):
    """RSLAD with the class weights of FairARD (`class_exponent` is b, beta); the rest is as in RSLAD.

    The release leaves out the 1e-5 in w_c.

    Reference: Revisiting Adversarial Robustness Distillation from the Perspective of Robust Fairness. NeurIPS 2023.
    """


@dataclass
class FairMTARD(ClassWeighted, MTARD):
    """MTARD with the class weights of FairARD (`class_exponent` is b, beta); the rest is as in MTARD.

    MTARD's weights are computed from the class-weighted losses. In the release the clean branch learns from the robust
    teacher by mistake; here it learns from the clean one.

    Reference: Revisiting Adversarial Robustness Distillation from the Perspective of Robust Fairness. NeurIPS 2023.
    """

    def outer(self, batch: Batch) -> Losses:
        return self.balanced(batch, batch.teacher(batch.x_adv), batch.clean_teacher(batch.x), self.weights(batch))


@dataclass
class ABSLD(ByClass):
    """Anti-bias soft label distillation: RSLAD with two teacher temperatures per class, one at x' and one at x.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x)/a_y || S(x'))
        min_S   scale (5/6 KL(T(x)/a_y || S(x')) + 1/6 KL(T(x)/n_y || S(x)))
        a_c  <- clip_[0.5, 5](a_c - rate_t g_c / max|g|),   g = e - mean(e),   e_c = mean CE(S(x'), y) of the epoch
        n_c  <- the same from CE(S(x), y)

    Both are 1 in the first epoch; a class learnt worse gets sharper targets. `temperature_rate` is rate_t and follows
    the learning rate's schedule. The student's temperature is 1. The paper sums e_c over the class, which is the same
    if the classes are equally large. In the release both targets are divided by both temperatures, by mistake. The
    release has `scale` 0.1, on CIFAR-10.

    Reference: Zhao et al., Improving Adversarial Robust Fairness via Anti-Bias Soft Label Distillation. NeurIPS 2024.
    """

    adv_weight: float = 5 / 6
    clean_weight: float = 1 / 6
    scale: float = 1.0
    temperature_rate: float = 0.1

    def inner(self, batch: Batch) -> Objective:
        soft, _ = self.targets(batch)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        soft_adv, soft_nat = self.targets(batch)
        adv, nat = batch.student(batch.x_adv), batch.student(batch.x)
        errors = torch.stack([cross_entropy(adv, batch.y), cross_entropy(nat, batch.y)], 1)
        self.add(batch, errors, classes=adv.shape[1])
        return {
            "adv": self.scale * self.adv_weight * kl(soft_adv, adv, offset=1e-5),
            "clean": self.scale * self.clean_weight * kl(soft_nat, nat, offset=1e-5),
        }

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return T(x)/a_y and T(x)/n_y."""
        logits = batch.teacher(batch.x)
        temperatures = self.state.get("temperatures", logits.new_ones(logits.shape[1], 2))[batch.y]
        return logits / temperatures[:, :1], logits / temperatures[:, 1:]

    def end_epoch(self, rate: float) -> None:
        means = self.means()
        gaps = means - means.mean(0)
        step = rate * self.temperature_rate * gaps / gaps.abs().amax(0).clamp(min=1e-12)
        self.state["temperatures"] = (self.state.get("temperatures", torch.ones_like(step)) - step).clamp(0.5, 5)

    def figures(self) -> dict[str, float]:
        adv, nat = self.state["temperatures"].unbind(1)
        return extremes("temperature/adv", adv) | extremes("temperature/clean", nat)
