"""Compare exact AdaAD with an attack that runs the teacher at some steps only: cost, gradients, trained students.

    python benchmarks/cheap_adaad.py --seeds 3                              # digits, every variant
    python benchmarks/cheap_adaad.py --cifar10 ../shared/teachers/cifar10_resnet18_linf_8_255.safetensors \\
        --variants exact k2 k3 k5 --images 10000 --epochs 10

An interrupted benchmark resumes. The variant k5 is `teacher_every` 5. In label, top2, top3 and all, the teacher is
linearised along these logits, at the first step of the attack only or, with -k3 and -k5, again at every k-th step
(benchmarks/linear_rows.py). Columns: "times as fast" is the time with exact AdaAD divided by the variant's time;
`Costs.direction` and `Costs.gain` define cosine, signs and gain.
"""

import json
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import tyro
from linear_rows import AdaADRows
from receipt import cell, receipt
from torch import Tensor, nn

from advdistill import PGD, AdaAD, Distiller, Recipe, Result, Run, data, distill, evaluate, models, recipes
from advdistill._internal.rng import Rng
from advdistill.acceleration.frozen import native_bf16
from advdistill.data.batches import to_float
from advdistill.losses import kl
from advdistill.methods import Batch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VARIANTS: dict[str, dict] = {"exact": {"method": AdaAD()}}
VARIANTS |= {f"k{every}": {"method": AdaAD(), "teacher_every": every} for every in (2, 3, 4, 5, 10)}
for logits, label in ((0, "label"), (2, "top2"), (3, "top3"), (10, "all")):
    VARIANTS |= {label: {"method": AdaADRows(logits=logits)}}
    VARIANTS |= {f"{label}-k{every}": {"method": AdaADRows(logits=logits, every=every)} for every in (3, 5)}


@dataclass(frozen=True)
class Options:
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: int = 1
    cifar10: Path | None = None
    """Checkpoint of a robust teacher; if given, a resnet8 is trained on CIFAR-10 instead of digits."""
    images: int = 10_000
    """CIFAR-10: training images."""
    epochs: int | None = None
    """By default the recipe's."""
    n: int | None = None
    """Test images attacked by PGD-20; by default all."""
    batch: int = 64
    """Images per attack in the measurements of time, gradients and gain."""
    pairs: int = 9
    out: Path = Path("runs/cheap_adaad")


def main(options: Options) -> None:
    for name in options.variants:
        if name not in VARIANTS:
            raise SystemExit(f"There is no variant {name!r}; there are {', '.join(VARIANTS)}.")
    recipe = base(options)
    runs = {name: [student(recipe, name, seed, options) for seed in range(options.seeds)] for name in options.variants}
    costs = Costs(recipe, models.load(student(recipe, "exact", 0, options).folder), options.batch)
    print(f"{receipt()}\n- {caption(recipe, options)}\n\n{HEAD}", flush=True)
    for name in options.variants:
        print(f"| {name} | {' | '.join(costs.cells(name, options.pairs) + learned(runs[name], options))} |", flush=True)


COLUMNS = ["attack", "attack, times as fast", "step, times as fast", "cosine (lowest step)", "signs", "gain"]
COLUMNS += ["runs", "clean", "pgd-20", "training, s"]
HEAD = f"| variant | {' | '.join(COLUMNS)} |\n|---|{'--:|' * len(COLUMNS)}"


def base(options: Options) -> Recipe:
    if options.cifar10:
        small = recipes.load("cifar10.rslad_small")
        used = replace(small.data, train_images=options.images)
        recipe = small.replace(teacher=f"file:{options.cifar10}", data=used)
    else:
        teacher = distill(recipes.load("digits.teacher"), options.out / "digits-teacher")
        recipe = recipes.load("digits.adaad").replace(teacher=str(teacher))
    return recipe.replace(epochs=options.epochs or recipe.epochs)


def caption(recipe: Recipe, options: Options) -> str:
    costs = f"times, gradients and gain: {options.batch} test images, the student of exact AdaAD with seed 0, "
    costs += f"{options.pairs} pairs"
    setting = f"{recipe.student}, {recipe.data.train_images or 'all'} training images of {recipe.data.name}"
    return f"{setting}, {recipe.epochs} epochs, {recipe.attack}; {costs}; training seconds include validation"


def student(recipe: Recipe, name: str, seed: int, options: Options) -> Run:
    folder = options.out / f"{recipe.data.name}-{recipe.data.train_images or 'all'}-{recipe.epochs}-{name}-{seed}"
    return distill(recipe.replace(seed=seed, **VARIANTS[name]), folder)


def learned(runs: list[Run], options: Options) -> list[str]:
    results = [evaluated(run, options.n) for run in runs]
    figures = [cell([100 * result[attack].accuracy for result in results]) for attack in ("clean", "pgd-20")]
    seconds = [sum(json.loads(line)["seconds"] for line in run.metrics.open()) for run in runs]
    return [str(len(runs)), *figures, cell(seconds, 0)]


def evaluated(run: Run, n: int | None) -> Result:
    path = run.folder / f"pgd-20-{n or 'all'}.json"
    if not path.exists():
        recipe = run.recipe
        test = data.load(recipe.data.name, "test")
        found = evaluate(models.load(run.folder), test, recipe.attack.threat, "clean,pgd-20", n=n, device=DEVICE)
        replace(found, chosen=run.chosen).save(path)
    return Result.load(path)


@dataclass(frozen=True)
class Trail(PGD):
    """PGD that records its iterates and their gradients; with a given `path`, the gradients at these points instead."""

    path: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def __call__(self, objective, x, rng=None):
        given = list(self.path)
        x_adv = given[0] if given else self._begin(x, rng)
        for step in range(self.steps):
            leaf = (given[step] if given else x_adv).detach().clone().requires_grad_()
            with torch.enable_grad():
                self.gradients.append(torch.autograd.grad(objective(leaf).sum(), leaf)[0])
            if not given:
                self.path.append(leaf.detach())
            x_adv = self.threat.project(self.threat.ascend(leaf.detach(), self.gradients[-1], self.step_size), x)
        return x_adv


class Costs:
    """Cost and quality of a variant's attack, on the first `batch` test images and with a trained student."""

    def __init__(self, recipe: Recipe, student: nn.Module, batch: int):
        test = data.load(recipe.data.name, "test").first(batch)
        self.x, self.y = to_float(test.images.to(DEVICE)), test.labels.to(DEVICE)
        self.recipe, self.student, self.teacher = recipe, student.to(DEVICE), models.load(recipe.teacher).to(DEVICE)
        self.bf16 = recipe.precision == "auto" and native_bf16()
        self.exact = self.distiller("exact")
        self.trail = self.trailed("exact", [])

    def distiller(self, name: str, attack: PGD | None = None) -> Distiller:
        options = dict(VARIANTS[name])
        fast = torch.bfloat16 if self.bf16 else torch.float32
        return Distiller(options.pop("method"), self.teacher, attack=attack or self.recipe.attack, fast=fast, **options)

    def trailed(self, name: str, path: list[Tensor]) -> Trail:
        attack = self.recipe.attack
        distiller = self.distiller(name, Trail(attack.steps, attack.step_size, attack.threat, path=path))
        self.crafted(distiller)
        return distiller.attack

    def crafted(self, distiller: Distiller) -> Batch:
        return distiller.craft(self.student, self.x, self.y, rng=Rng(0, device=DEVICE))

    def cells(self, name: str, pairs: int) -> list[str]:
        cheap = self.distiller(name)
        self.timed(self.exact), self.timed(cheap)
        times = [(*self.timed(self.exact), *self.timed(cheap)) for _ in range(pairs)]
        attack = statistics.median(cheap for _, _, cheap, _ in times)
        ratios = [
            statistics.median(exact / cheap for exact, _, cheap, _ in times),
            statistics.median((attack + rest) / (cheap + after) for attack, rest, cheap, after in times),
        ]
        return [f"{attack:.3f} s", *(f"{ratio:.2f}" for ratio in ratios), *self.direction(name), self.gain(cheap)]

    def timed(self, distiller: Distiller) -> tuple[float, float]:
        """Return the seconds of the attack, and of the losses with their gradient."""
        began = now()
        made = self.crafted(distiller)
        attacked = now()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.bf16):
            loss = sum(loss.mean() for loss in distiller.losses(made, self.student).values())
        loss.backward()
        return attacked - began, now() - attacked

    def direction(self, name: str) -> list[str]:
        """Compare the variant's input gradients with the exact ones, at the iterates of the exact attack.

        Returns:
            the mean cosine over images and steps (in brackets the lowest mean of a step), and the share of equal signs.
        """
        pairs = list(zip(self.trail.gradients, self.trailed(name, self.trail.path).gradients, strict=True))
        cosines = [torch.cosine_similarity(a.flatten(1), b.flatten(1)).mean().item() for a, b in pairs]
        signs = statistics.mean((a.sign() == b.sign()).float().mean().item() for a, b in pairs)
        return [f"{statistics.mean(cosines):.3f} ({min(cosines):.3f})", f"{100 * signs:.1f} %"]

    @torch.no_grad()
    def gain(self, cheap: Distiller) -> str:
        """Return the rise of KL(T(x') || S(x')) from x to the variant's x', as a share of the exact attack's rise."""
        at = [self.x, self.crafted(cheap).x_adv, self.crafted(self.exact).x_adv]
        clean, found, most = (kl(self.teacher(x), self.student(x)).mean().item() for x in at)
        return f"{100 * (found - clean) / (most - clean):.1f} %"


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main(tyro.cli(Options))
