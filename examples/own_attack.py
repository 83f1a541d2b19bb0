"""Your own attack in one file. From the command line:

    advdistill evaluate runs/digits.rslad --attacks clean,pgd-20,python:examples/own_attack.py:Momentum
"""

from dataclasses import dataclass

import torch

import advdistill as ad
from advdistill.losses import cross_entropy


@dataclass(frozen=True)
class Momentum(ad.attacks.Attack):
    """MI-FGSM: steps along the sign of a running mean of gradients.

    Reference: Dong et al., Boosting Adversarial Attacks with Momentum. CVPR 2018, arXiv:1710.06081.
    """

    threat: ad.Linf
    steps: int = 10
    decay: float = 1.0
    name = "momentum"

    def __call__(self, model, x, y, *, rng):
        x_adv = (x + self.threat.sample(x, rng)).clamp(0, 1)
        mean = torch.zeros_like(x)
        for _ in range(self.steps):
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(model(x_adv), y).sum(), x_adv)
            size = gradient.abs().mean((1, 2, 3), keepdim=True)
            mean = self.decay * mean + gradient / size.clamp(min=1e-12)
            x_adv = self.threat.project(x_adv.detach() + self.threat.eps / 4 * mean.sign(), x)
        return x_adv


def noise(model, x, y, *, rng, size=0.1):
    """The simplest attack is a function: uniform noise."""
    return (x + size * (2 * rng.uniform(x) - 1)).clamp(0, 1)


if __name__ == "__main__":
    recipe = ad.recipes.load("digits.teacher").replace(epochs=2)  # enough to see it run
    run = ad.distill(recipe, "runs/teacher")
    threat = ad.Linf(0.1)
    attacks = ["clean", "pgd-20", Momentum(threat, steps=20), noise]
    result = ad.evaluate(ad.models.load(str(run)), ad.data.load("digits", "test"), threat, attacks=attacks, n=200)
    for measured in result.measurements:
        print(f"{measured.attack}: {measured.accuracy:.1%} of {measured.n} images ({measured.settings})")
