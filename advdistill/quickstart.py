"""The whole of it in minutes, on embedded data: a robust teacher, a small student alone, the same student distilled."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from . import data, models, recipes
from .attacks import PGD
from .data import Split
from .data.batches import to_float
from .evaluation import evaluate, robust_curve
from .evaluation.suites import pgd
from .losses import cross_entropy
from .recipe import Recipe
from .report.plots import Example, draw_curves, draw_gallery
from .result import Result
from .rng import Rng
from .run import Run
from .train import distill

__all__ = ["quickstart"]

SUITE = "clean,pgd-20,autoattack"
RADII = (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def quickstart(out: Path, say: Callable[[str], None] = print) -> list[Result]:
    """Train, attack and compare; the folder holds the three runs, `curve.png` and `gallery.png`.

    Started again on the same folder, it continues where it was.
    """
    began = time.monotonic()
    teacher = recipes.load("digits.teacher")
    test = data.load(teacher.data.name, "test")
    runs = {"teacher": _run(teacher, out / "teacher", say)}
    runs["pgd_at"] = _run(recipes.load("digits.pgd_at"), out / "pgd_at", say)
    runs["ard"] = _run(recipes.load("digits.ard").replace(teacher=str(out / "teacher")), out / "ard", say)
    networks = {f"{name} ({run.recipe.student})": models.load(run.folder) for name, run in runs.items()}
    results = [_result(run, *named, test, say) for run, named in zip(runs.values(), networks.items(), strict=True)]
    _draw(out, networks, test, teacher)
    say(f"pictures: {out}/curve.png, {out}/gallery.png; {time.monotonic() - began:.0f} s in all")
    return results


def _run(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Run:
    say(f"{folder.name}: training {recipe.student}, {recipe.epochs} epochs")
    return distill(recipe, folder)


def _result(run: Run, name: str, network: nn.Module, test: Split, say: Callable[[str], None]) -> Result:
    if run.result.exists():
        return Result.load(run.result)
    result = evaluate(
        network, test, run.recipe.attack.threat, SUITE,
        batch_size=len(test), name=name, report=lambda line: say(f"{name}: {line}"),
    )  # fmt: skip
    result = replace(result, chosen=run.chosen, command="advdistill quickstart")
    result.save(run.result)
    return result


def _draw(out: Path, networks: dict[str, nn.Module], test: Split, recipe: Recipe) -> None:
    threat = recipe.attack.threat
    draw_curves({name: robust_curve(net, test, RADII) for name, net in networks.items()}, threat.eps, out / "curve.png")
    draw_gallery(_examples(networks, test, pgd(20, threat)), threat.eps, out / "gallery.png")


def _examples(networks: dict[str, nn.Module], test: Split, attack: PGD) -> list[Example]:
    """The first test image of each class, attacked on each network."""
    first = [int((test.labels == c).nonzero()[0]) for c in range(test.num_classes)]
    part = test.take(first)
    x, y = to_float(part.images), part.labels
    said = {name: _said(net, x, y, attack) for name, net in networks.items()}

    def example(i: int) -> Example:
        by_model = {
            name: (part.classes[clean[i]], part.classes[attacked[i]], x_adv[i].numpy())
            for name, (clean, attacked, x_adv) in said.items()
        }
        return Example(x[i].numpy(), part.classes[y[i]], by_model)

    return [example(i) for i in range(len(part))]


def _said(network: nn.Module, x: torch.Tensor, y: torch.Tensor, attack: PGD):
    x_adv = attack(lambda x_adv: cross_entropy(network(x_adv), y), x, Rng(0))
    with torch.no_grad():
        return network(x).argmax(1), network(x_adv).argmax(1), x_adv
