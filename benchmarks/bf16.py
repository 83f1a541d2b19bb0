"""Does bf16 cost accuracy? Compare bf16 with fp32 in an attack on a robust network, and in training students.

    python benchmarks/bf16.py ../shared/teachers/cifar10_resnet18_linf_8_255.safetensors

Interrupted training runs resume. Evaluation is in fp32 throughout.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from machine import DEVICE
from receipt import cell, receipt
from torch import Tensor, nn

from advdistill import PGD, Linf, Result, Run, data, distill, evaluate, models, recipes
from advdistill._internal.rng import Rng
from advdistill.acceleration.frozen import Frozen
from advdistill.data.batches import in_order
from advdistill.losses import cross_entropy
from advdistill.results.result import wilson


@dataclass(frozen=True)
class Options:
    teacher: tyro.conf.Positional[str]
    """A robust CIFAR-10 network."""
    n: int = 1000
    """Number of test images to attack."""
    seeds: int = 10
    """Number of pairs of runs (fp32 and bf16) on digits."""
    images: int = 10_000
    """CIFAR-10: training images of the one pair of runs."""
    epochs: int = 5
    """CIFAR-10: epochs of the one pair of runs."""
    out: Path = Path("runs/bf16")


def main(options: Options) -> None:
    print(f"{receipt()}\n\n| attack, PGD-20 on {options.n} images | rise of the loss | share of fp32's | robust |")
    print("|---|--:|--:|--:|", flush=True)
    print("\n".join(attack(models.load(options.teacher).to(DEVICE), options.n)), flush=True)
    print("\n| training | precision | runs | clean | pgd-20 |\n|---|---|--:|--:|--:|")
    for line in training(options):
        print(line, flush=True)


@torch.no_grad()
def attack(model: nn.Module, n: int) -> Iterator[str]:
    """Yield a row per precision of the attack: the rise of the fp32 network's cross-entropy, and its accuracy."""
    pgd, split = PGD(20, "2/255", Linf("8/255")), data.load("cifar10", "test").first(n)
    found = {}
    for name, searched in {"fp32": model, "bf16": Frozen(model, torch.bfloat16)}.items():
        rises, stands = [], []
        for start, x, y in in_order(split, 100, DEVICE):
            x_adv = pgd(objective(searched, y), x, Rng(0, "attack", start, device=DEVICE))
            logits = model(x_adv)
            rises.append(cross_entropy(logits, y) - cross_entropy(model(x), y))
            stands.append(logits.argmax(1) == y)
        found[name] = torch.cat(rises).mean().item()
        correct = int(torch.cat(stands).sum())
        low, high = wilson(correct, n)
        share = f"{100 * found[name] / found['fp32']:.2f} %"
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        yield f"| {name} | {found[name]:.4f} | {share} | {100 * correct / n:.1f} ({interval}) |"


def objective(searched: nn.Module, y: Tensor):
    return lambda images: cross_entropy(searched(images), y)


def training(options: Options) -> Iterator[str]:
    teacher = distill(recipes.load("digits.teacher"), options.out / "digits-teacher")
    digits = recipes.load("digits.rslad").replace(teacher=str(teacher))
    small = recipes.load("cifar10.rslad_small").replace(teacher=f"file:{options.teacher}", epochs=options.epochs)
    small = small.replace(data=replace(small.data, train_images=options.images))
    for recipe, seeds in ((digits, options.seeds), (small, 1)):
        for precision in ("fp32", "bf16"):
            of = recipe.replace(precision=precision)
            folder = options.out / f"{recipe.data.name}-{precision}"
            results = [ended(distill(of.replace(seed=seed), f"{folder}-{seed}")) for seed in range(seeds)]
            figures = [cell([100 * result[attack].accuracy for result in results]) for attack in ("clean", "pgd-20")]
            yield f"| {recipe.data.name}, RSLAD, {recipe.student} | {precision} | {seeds} | {' | '.join(figures)} |"


def ended(run: Run) -> Result:
    """Evaluate the last checkpoint: which checkpoint is best on about a hundred held-out images is chance."""
    recipe = run.recipe
    return evaluate(
        models.load(run.last), data.load(recipe.data.name, "test"), recipe.attack.threat, "clean,pgd-20", device=DEVICE
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
