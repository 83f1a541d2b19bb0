from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..losses import cross_entropy, jensen_shannon
from .memo import memo
from .method import PGD, Batch, Losses, Method, Objective, OnBatch

__all__ = ["LIET"]

IMAGES = "label_images"


@dataclass
class LIET(Method):
    """Label information elimination: one step of eps from a start with the label's transferable perturbation.

        L_c   = eps sign grad R(S(g), c)   at a grey image g, S in eval mode, anew every `every` batches of an epoch
        x0    = x + L_y or x - L_y,   a share r of its values uniform in the ball
        x'    = argmax_{|x' - x| <= eps}  R(S(x'), y),   from x0
        min_S   R(S(x'), y) + consistency_weight progress JS(S(x0), S(x'))

    R is the cross-entropy with 1 - `smoothing` on the label, and the rest on the other classes in proportion to random
    numbers, which are drawn separately for L, for the attack and for the loss. The sign of L_y, and r between
    `least_noise` and `most_noise`, are drawn once per batch. Gradients flow through both sides of JS. Defaults are for
    CIFAR-10; CIFAR-100 has `smoothing` 0.8 and `consistency_weight` 200; eps 16/255 has 0.4, 20 and noise from 0 to 1.

    Reference: Pan et al., Mitigating Catastrophic Overfitting in Fast Adversarial Training via Label Information
    Elimination. ICCV 2025.
    """

    smoothing: float = 0.6
    consistency_weight: float = 100.0
    least_noise: float = 0.1
    most_noise: float = 0.5
    every: int = 20

    teachers = ()
    start = "uniform"
    student_mode = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothing >= 1:
            raise ValueError(f"smoothing of LIET must be a share in [0, 1), got {self.smoothing}.")
        if not self.least_noise <= self.most_noise <= 1:
            given = f"{self.least_noise} and {self.most_noise}"
            raise ValueError(f"least_noise and most_noise of LIET must be shares, at most 1 and in order; got {given}.")
        if self.every < 1:
            raise ValueError(f"every of LIET must be a number of batches, at least 1, got {self.every}.")

    def inner(self, batch: Batch) -> Objective:
        return lambda x_adv: self.loss(batch, batch.student(x_adv), "attack")

    def craft(self, batch: Batch, attack: PGD | OnBatch) -> Tensor | dict[str, Tensor]:
        if not isinstance(attack, PGD):
            return attack(self.inner(batch), batch.x, batch.rng)
        start = self.begin(batch, attack.begin(batch.x, batch.rng))
        return {"adv": attack.climb(self.inner(batch), batch.x, start), "start": start}

    def outer(self, batch: Batch) -> Losses:
        start = batch.adversarial.get("start", batch.x)
        begun = memo(batch.student).without_tracking(start)  # the attack's pass of x0 updated the running statistics
        adv = batch.student(batch.x_adv)
        if not batch.trial:
            self.state["batches"] = self.batches + 1
            self.state |= {IMAGES: batch.notes[IMAGES]} if IMAGES in batch.notes else {}
        weight = self.consistency_weight * batch.progress
        return {"adv": self.loss(batch, adv, "loss"), "consistency": weight * jensen_shannon(begun, adv)}

    def end_epoch(self, rate: float) -> None:
        self.state["batches"] = torch.zeros_like(self.batches)

    @property
    def batches(self) -> Tensor:
        """Number of batches done in this epoch."""
        return self.state.get("batches", torch.zeros((), dtype=torch.int64))

    def begin(self, batch: Batch, noisy: Tensor) -> Tensor:
        """Return x0 `[B, C, H, W]`; `noisy` are the images with uniform noise."""
        anew = self.batches % self.every == 0 or IMAGES not in self.state
        images = batch.notes[IMAGES] = self.label_images(batch) if anew else self.state[IMAGES]
        drawn = batch.rng.child("start").generator  # the same in every process, whatever its images
        sign, noise = torch.rand(2, generator=drawn, device=drawn.device).to(batch.x.dtype)
        moved = (batch.x + torch.where(sign < 0.5, -1, 1) * images[batch.y]).clamp(0, 1)
        share = self.least_noise + (self.most_noise - self.least_noise) * noise
        return torch.where(batch.rng.child("noise").uniform(batch.x) < share, noisy, moved)

    def label_images(self, batch: Batch) -> Tensor:
        """Compute L, `[K, C, H, W]`."""
        student, drawn = batch.copied_student(), batch.rng.child(IMAGES).generator
        one = batch.x.new_full((1, *batch.x.shape[1:]), 0.5)
        classes = student(one).shape[1]
        grey = one.repeat(classes, 1, 1, 1).requires_grad_()
        draws = torch.rand((classes, classes), generator=drawn, device=drawn.device).to(grey.dtype)
        label = self.label(torch.arange(classes, device=grey.device), draws)
        with torch.enable_grad():
            logits = student(grey).to(grey.dtype)
            (gradient,) = torch.autograd.grad(cross_entropy(logits, label).sum(), grey)
        return batch.threat.ascend(torch.zeros_like(grey), gradient, batch.threat.eps).detach()

    def loss(self, batch: Batch, logits: Tensor, name: str) -> Tensor:
        """Compute R, `[B]`; each `name` has its own random numbers."""
        draws = batch.rng.child(name).uniform(logits.detach().float()).to(logits.dtype)
        return cross_entropy(logits, self.label(batch.targets, draws))

    def label(self, y: Tensor, draws: Tensor) -> Tensor:
        """Return random soft labels `[B, K]` for labels `[B]` or distributions; draws are `[B, K]` in [0, 1)."""
        y = (y if y.ndim == 2 else one_hot(y, draws.shape[1])).to(draws.dtype)
        others = (1 - draws) * (1 - y)
        return (1 - self.smoothing) * y + self.smoothing * others / others.sum(1, keepdim=True)
