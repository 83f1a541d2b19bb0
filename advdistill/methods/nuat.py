from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses import cross_entropy
from .method import Batch, Losses, Method, Objective

__all__ = ["NuAT"]


@dataclass
class NuAT(Method):
    """Nuclear-norm adversarial training: one step of eps, and a nuclear-norm penalty on the batch's change of logits.

        x'    = argmax_{|x' - x| <= eps}  CE(S(x'), y) + [every second batch] w |S(x) - S(x')|_* / B
        min_S   CE(S(x), y) + w |S(x) - S(x')|_* / B,   w = nuclear_weight min(1, progress / ramp)

    |D|_* is the sum of the singular values of D, the batch's change of logits, [B, K]. Image i has the share
    <d_i, M d_i> with M = (D^T D)^(-1/2) held fixed; the gradient of the shares' sum is that of |D|_*. D^T D is summed
    over the processes. A singular value of 0 has gradient 0. One step of eps, from a start half of eps up or down.
    The release has w 0.05 e in epoch e of 100, up to 4.5, batches of 64, and in the attack S(x) in train mode.

    Reference: Sriramanan et al., Towards Efficient and Effective Adversarial Training. NeurIPS 2021.
    """

    nuclear_weight: float = 4.5
    ramp: float = 0.9

    teachers = ()
    start = "signs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ramp == 0:
            raise ValueError("ramp of NuAT must be a share of the training above 0, got 0.")

    def inner(self, batch: Batch) -> Objective:
        clean, weight = batch.student(batch.x), self.weight(batch) * self.batches(batch).remainder(2)

        def objective(x_adv: Tensor) -> Tensor:
            logits = batch.student(x_adv)
            return cross_entropy(logits, batch.targets) + weight * nuclear(batch, clean - logits)

        return objective

    def outer(self, batch: Batch) -> Losses:
        adv, clean = batch.student(batch.x_adv), batch.student(batch.x)  # x' first, as released
        if not batch.trial:
            self.state["batches"] = self.batches(batch) + 1
        return {
            "clean": cross_entropy(clean, batch.targets),
            "nuclear": self.weight(batch) * nuclear(batch, clean - adv),
        }

    def end_epoch(self, rate: float) -> None:
        self.state["batches"] = torch.zeros_like(self.state["batches"])

    def batches(self, batch: Batch) -> Tensor:
        """Number of batches done in this epoch."""
        return self.state.get("batches", torch.zeros((), device=batch.x.device))

    def weight(self, batch: Batch) -> float | Tensor:
        return self.nuclear_weight * (batch.progress / self.ramp if batch.progress < self.ramp else 1.0)


def nuclear(batch: Batch, change: Tensor) -> Tensor:
    """Return each image's share, `[B]`, of the nuclear norm of `change`, `[B, K]`; they add up to it over the batch."""
    rows = change.detach().double()
    values, vectors = torch.linalg.eigh(batch.total((rows.T @ rows)[None]))
    values = values.clamp(min=0)
    kept = values > 1e-12 * values[-1]
    root = torch.where(kept, values, 1).rsqrt() * kept
    direction = rows @ (vectors * root) @ vectors.T
    return (change * direction.to(change.dtype)).sum(1)
