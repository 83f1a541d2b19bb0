"""AdaAD with a teacher linearised along chosen logits, measured as an alternative to `teacher_every`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advdistill import AdaAD
from advdistill.losses import kl
from advdistill.methods import Batch

__all__ = ["AdaADRows"]


@dataclass
class AdaADRows(AdaAD):
    """AdaAD whose attack uses T(x_r) + J (x' - x_r) for T(x'); x_r is the first and every k-th iterate.

    J has the rows of the `logits` largest logits of T(x_r), or with 0 only the label's; other logits stay at T(x_r).
    `every` is k; with 0, x_r stays the first iterate.
    """

    logits: int = 3
    every: int = 0

    def inner(self, batch):
        teacher = Rows(batch, self.logits, self.every)
        return lambda x_adv: kl(teacher(x_adv), batch.student(x_adv))


class Rows:
    def __init__(self, batch: Batch, logits: int, every: int):
        self.batch, self.logits, self.every, self.calls = batch, logits, every, 0

    def __call__(self, x: Tensor) -> Tensor:
        if self.calls == 0 or (self.every and self.calls % self.every == 0):
            self.refresh(x)
        self.calls += 1
        d = (x - self.at).flatten(1)
        return self.base.scatter_add(1, self.chosen, torch.stack([(row * d).sum(1) for row in self.rows], 1))

    def refresh(self, x: Tensor) -> None:
        at = x.detach().clone().requires_grad_()
        logits = self.batch.teacher(at)
        label = self.batch.y[:, None]
        self.chosen = logits.topk(min(self.logits, logits.shape[1])).indices if self.logits else label
        picked = logits.gather(1, self.chosen).unbind(1)
        self.rows = [torch.autograd.grad(logit.sum(), at, retain_graph=True)[0].flatten(1) for logit in picked]
        self.at, self.base = at.detach(), logits.detach()
