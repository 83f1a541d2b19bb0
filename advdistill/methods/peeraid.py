from dataclasses import dataclass

from ..losses import cross_entropy, kl
from .method import Batch, Losses, Method, Objective

__all__ = ["PeerAiD"]


@dataclass
class PeerAiD(Method):
    """Adversarial distillation from a peer P, a network like the student and trained with it, on the student's x'.

        x'      = argmax_{|x' - x| <= eps}  KL(P(x) || S(x'))
        min_P,S   g1 CE(P(x'), y) + g2 scale KL(S(x') || P(x'))
                  + l1 CE(S(x'), y) + l2 t^2 scale KL(P(x')/t || S(x')/t) + l3 t^2 scale KL(S(x)/t || S(x')/t)

    `peer_label_weight` and `peer_student_weight` are g1 and g2 (gamma), `label_weight`, `peer_weight` and `self_weight`
    are l1, l2 and l3 (lambda), `temperature` is t (tau). P(x') is detached in the student's term; S(x') in the peer's
    term and S(x) are not, as released. Defaults are the release's for CIFAR-10, except `scale`, which is 0.1
    there. CIFAR-100 has `scale` 0.01 and g2 1; Tiny-ImageNet has 0.005, t 1, g 1 and 100, l 0.035, 35 and 20.

    Reference: Jung et al., PeerAiD: Improving Adversarial Distillation from a Specialized Peer Tutor. CVPR 2024,
    arXiv:2403.06668.
    """

    peer_label_weight: float = 1.0
    peer_student_weight: float = 0.1
    label_weight: float = 0.0
    peer_weight: float = 1.0
    self_weight: float = 1.0
    temperature: float = 5.0
    scale: float = 1.0

    teachers = ("peer",)
    trained = ("peer",)
    released_passes = ("adv",)

    def inner(self, batch: Batch) -> Objective:
        soft = batch.peer(batch.x)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch: Batch) -> Losses:
        t, peer, adv = self.temperature, batch.peer(batch.x_adv), batch.student(batch.x_adv)
        soft = self.scale * t**2
        losses = {
            "peer_label": self.peer_label_weight * cross_entropy(peer, batch.targets),
            "peer_student": self.peer_student_weight * self.scale * kl(adv, peer),
            "peer": self.peer_weight * soft * kl(peer.detach(), adv, t),
            "self": self.self_weight * soft * kl(batch.student(batch.x), adv, t),
        }
        if self.label_weight:
            losses["label"] = self.label_weight * cross_entropy(adv, batch.targets)
        return losses
