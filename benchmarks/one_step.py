"""Compare cheaper training attacks with PGD-10, same student, on digits: seconds per epoch and accuracy.

    python benchmarks/one_step.py --student convnet-8 --eps 0.1 --epochs 40

Each run is `digits.pgd_at` with another attack, evaluated on the whole test split; an interrupted benchmark resumes.
Seconds are the time of one epoch's steps, measured `pairs` times for all attacks in turn in one process; a ratio is the
median over these rounds. With --cifar10 FOLDER a resnet8 is trained on CIFAR-10.
"""

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from receipt import cell, receipt

from advdistill import PGD, PGDAT, Distiller, Recipe, Result, Run, data, distill, evaluate, models, recipes
from advdistill._internal.rng import Rng
from advdistill.data.batches import Batches

ATTACKS = ("clean", "pgd-20", "autoattack")


@dataclass(frozen=True)
class Options:
    seeds: int = 3
    cifar10: Path | None = None
    """Folder of CIFAR-10's files; if given, `cifar10.pgd_at_small` is used instead of digits."""
    epochs: int | None = None
    """By default the recipe's; likewise student and eps."""
    student: str | None = None
    eps: float | None = None
    """The attack's eps; the step size changes in proportion."""
    attacks: tuple[str, ...] = ATTACKS
    pairs: int = 9
    out: Path = Path("runs/one_step")


def variants(attack: PGD) -> dict[str, PGD]:
    """Return the attacks by name; step sizes in units of eps are the papers'."""
    eps = attack.threat.eps
    one = replace(attack, steps=1, start="uniform")
    return {
        "pgd-10": replace(attack, start="uniform"),
        "fgsm-rs": replace(one, step_size=1.25 * eps, allow_step_above_eps=True, student_mode="train"),
        "n-fgsm": replace(one, step_size=eps, start_radius=2, projected=False, student_mode="train"),
        "last, 1 step": replace(one, step_size=eps / 2, start="last"),
        "last, 2 steps": replace(one, steps=2, step_size=eps / 2, start="last"),
        "pgd-10, stop_after 0": replace(attack, start="uniform", stop_after=0),
        "pgd-10, stop_after 1": replace(attack, start="uniform", stop_after=1),
    }


def main(options: Options) -> None:
    base = recipes.load("digits.pgd_at" if options.cifar10 is None else "cifar10.pgd_at_small")
    if options.cifar10 is not None:
        base = base.replace(data=replace(base.data, folder=str(options.cifar10)))
    base = base.replace(epochs=options.epochs or base.epochs, student=options.student or base.student)
    if options.eps is not None:
        step = options.eps * base.attack.step_size / base.attack.threat.eps
        threat = replace(base.attack.threat, eps=options.eps)
        base = base.replace(attack=replace(base.attack, threat=threat, step_size=step))
    kinds = {name: base.replace(attack=attack) for name, attack in variants(base.attack).items()}
    setting = f"{base.student}, {base.data.name}, {base.epochs} epochs, {base.attack.threat}, {options.seeds} seeds"
    print(f"{receipt()}\n- {setting}\n", flush=True)
    seconds = timed(kinds, options.pairs)
    print(f"| attack | seconds per epoch | times as fast as pgd-10 | {' | '.join(options.attacks)} |", flush=True)
    print(f"|---|--:|--:|{'--:|' * len(options.attacks)}", flush=True)
    for name, recipe in kinds.items():
        results = [evaluated(recipe.replace(seed=seed), name, options) for seed in range(options.seeds)]
        figures = [cell([100 * result[attack].accuracy for result in results]) for attack in options.attacks]
        ratio = statistics.median(slow / fast for slow, fast in zip(seconds["pgd-10"], seconds[name], strict=True))
        print(f"| {name} | {statistics.median(seconds[name]):.2f} | {ratio:.2f} | {' | '.join(figures)} |", flush=True)


def timed(kinds: dict[str, Recipe], pairs: int) -> dict[str, list[float]]:
    """Return the seconds of an epoch's steps, all attacks in turn, without the first round, which copies networks."""
    loops = {name: loop(recipe) for name, recipe in kinds.items()}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(pairs + 1):
        for name, epoch in loops.items():
            began = time.perf_counter()
            next(epoch)
            found[name].append(time.perf_counter() - began)
    return {name: rounds[1:] for name, rounds in found.items()}


def loop(recipe: Recipe):
    """Train, and yield after the steps of each epoch."""
    torch.manual_seed(0)
    split = data.load(recipe.data.name, "train", recipe.data.folder)
    split = split.first(recipe.data.train_images or len(split))
    student = models.create(recipe.student, split.num_classes, split.shape[0])
    distiller = Distiller(PGDAT(), attack=recipe.attack, fast=torch.float32)
    optimizer = torch.optim.SGD(student.parameters(), 0.05, 0.9, weight_decay=5e-4)
    batches, step = Batches(split, recipe.batch_size, recipe.data.augment, 0), 0
    for epoch in range(10**9):
        for share in batches.epoch(epoch):
            made = distiller.craft(student.train(), share.x, share.y, rng=Rng(0, step), index=share.index)
            optimizer.zero_grad()
            distiller.losses(made, student)["adv"].mean().backward()
            optimizer.step()
            step += 1
        yield


def evaluated(recipe: Recipe, name: str, options: Options) -> Result:
    kind = name.replace(", ", "-").replace(" ", "_")
    folder = options.out / f"{recipe.student}-{recipe.attack.threat.eps:g}-{recipe.epochs}-{kind}-{recipe.seed}"
    run: Run = distill(recipe, folder)
    path = folder / f"{'-'.join(options.attacks)}.json"
    if not path.exists():
        test = data.load(recipe.data.name, "test", recipe.data.folder)
        evaluate(models.load(run.folder), test, recipe.attack.threat, ",".join(options.attacks)).save(path)
    return Result.load(path)


if __name__ == "__main__":
    main(tyro.cli(Options))
