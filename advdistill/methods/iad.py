from dataclasses import dataclass

from torch import Tensor

from ..losses import cross_entropy, kl, probabilities
from .method import Batch, Losses, Method, Objective

__all__ = ["AKD2", "IAD", "IADII", "AdaIAD"]


def trust(batch: Batch, exponent: float) -> Tensor:
    """Return a = p_y(T(x'))^b, how far the teacher is trusted at x'; without gradient."""
    return probabilities(batch.teacher(batch.x_adv), batch.y).detach() ** exponent


def introspection(batch: Batch, exponent: float) -> Tensor:
    """Return (1 - a) KL(S(x) || S(x')), the student's own term; S(x) is not detached."""
    return (1 - trust(batch, exponent)) * kl(batch.student(batch.x), batch.student(batch.x_adv))


@dataclass
class IAD(Method):
    """Introspective adversarial distillation, IAD-I: ARD until `begin`, then the student's own prediction as well.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        min_S   w t^2 KL(T(x)/t || S(x')/t) + [progress > begin] w (1 - a) KL(S(x) || S(x')) + (1 - w) CE(S(x), y)
        a     = p_y(T(x'))^b

    `distill_weight` is w (the paper's alpha), `temperature` is t (tau), `trust_exponent` is b (beta). `begin` is 60 of
    200 epochs. The paper weights the teacher's term by a as well; the released code, followed here, does not.

    Reference: Zhu et al., Reliable Adversarial Distillation with Unreliable Teachers. ICLR 2022, arXiv:2106.04928.
    """

    distill_weight: float = 1.0
    temperature: float = 1.0
    trust_exponent: float = 0.1
    begin: float = 0.3

    released_passes = ("clean",)
    start = "uniform_unclamped"
    student_mode = "train"

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        return introspective(self, batch, batch.teacher(batch.x))

    def label(self, batch: Batch) -> Losses:
        """Return (1 - w) CE(S(x), y), left out if w is 1."""
        if self.distill_weight >= 1:
            return {}
        return {"clean": (1 - self.distill_weight) * cross_entropy(batch.student(batch.x), batch.targets)}


@dataclass
class AdaIAD(IAD):
    """AdaAD's attack with IAD's introspection; the teacher is evaluated at x'.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x') || S(x'))
        min_S   w t^2 KL(T(x')/t || S(x')/t) + [progress > begin] w (1 - a) KL(S(x) || S(x')) + (1 - w) CE(S(x), y)

    Letters as in IAD; the temperature is 30 in the released command.

    Reference: Huang et al., Boosting Accuracy and Robustness of Student Models via Adaptive Adversarial Distillation.
    CVPR 2023.
    """

    temperature: float = 30.0

    start = "gaussian"  # type: ignore[assignment]  # mypy allows IAD's start only
    student_mode = "eval"  # type: ignore[assignment]  # as above

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: kl(batch.teacher(x_adv), batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        return introspective(self, batch, batch.teacher(batch.x_adv))


def introspective(method: IAD, batch: Batch, soft: Tensor) -> Losses:
    """Return the teacher's term with logits `soft`, the student's own term from `begin` on, and the label's term."""
    weight, t = method.distill_weight, method.temperature
    losses = {"adv": weight * t**2 * kl(soft, batch.student(batch.x_adv), t)}
    if batch.progress > method.begin:
        losses["self"] = weight * introspection(batch, method.trust_exponent)
    return losses | method.label(batch)


@dataclass
class AKD2(Method):
    """Adversarial training with two teachers at x', a robust one T and a standard one N.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y)
        min_S   (1 - u - v) CE(S(x'), y) + u t^2 KL(T(x')/t || S(x')/t) + v t^2 KL(N(x')/t || S(x')/t)

    `robust_weight` is u, `clean_weight` is v, `temperature` is t; the defaults 0.5, 0.25 and 1 are the IAD release's.
    The original has 0.6, 0.1 and temperature 2.

    Reference: Chen et al., Robust Overfitting may be mitigated by Properly Learned Smoothening. ICLR 2021.
    """

    robust_weight: float = 0.5
    clean_weight: float = 0.25
    temperature: float = 1.0

    teachers = ("robust", "clean")
    start = "uniform_unclamped"
    student_mode = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.robust_weight + self.clean_weight > 1:
            raise ValueError(
                f"robust_weight ({self.robust_weight}) and clean_weight ({self.clean_weight}) of {type(self).__name__} "
                "leave the label a negative weight; their sum must be at most 1."
            )

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: cross_entropy(batch.student(x_adv), batch.targets)

    def outer(self, batch: Batch) -> Losses:
        t, adv = self.temperature, batch.student(batch.x_adv)
        rest = 1 - self.robust_weight - self.clean_weight
        return {
            "label": rest * cross_entropy(adv, batch.targets),
            "robust": self.robust_weight * t**2 * self.robust_term(batch, adv),
            "clean": self.clean_weight * t**2 * kl(batch.clean_teacher(batch.x_adv), adv, t),
        }

    def robust_term(self, batch: Batch, adv: Tensor) -> Tensor:
        return kl(batch.teacher(batch.x_adv), adv, self.temperature)


@dataclass
class IADII(AKD2):
    """Introspective adversarial distillation, IAD-II: AKD2 until `begin`, then S(x) shares the robust term with T.

        u t^2 [a KL(T(x')/t || S(x')/t) + (1 - a) KL(S(x) || S(x'))],   a = p_y(T(x'))^b

    Letters as in AKD2; `trust_exponent` is b (beta), `begin` is 40 of 200 epochs.

    Reference: Zhu et al., Reliable Adversarial Distillation with Unreliable Teachers. ICLR 2022, arXiv:2106.04928.
    """

    trust_exponent: float = 0.1
    begin: float = 0.2

    def robust_term(self, batch: Batch, adv: Tensor) -> Tensor:
        if batch.progress <= self.begin:
            return super().robust_term(batch, adv)
        trusted = trust(batch, self.trust_exponent) * super().robust_term(batch, adv)
        return trusted + introspection(batch, self.trust_exponent)
