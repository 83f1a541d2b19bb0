"""A complete example in minutes, on bundled data: a robust teacher, a small student without and with distillation."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from . import data, models, recipes
from .attacks.suites import attacks
from .data import Split
from .evaluation import evaluate, robust_curve
from .evaluation.context import Context
from .evaluation.inspection import examples, first_of_each, predict
from .evaluation.networks import EvaluatedModel
from .models.checkpoint import provenance
from .recipe import Recipe
from .report.pictures import draw_curves, draw_gallery, require_plots
from .results.files import ResultFiles
from .results.result import Result
from .results.selection import Selection
from .run import Run, stale_result_message
from .train import distill

__all__ = ["quickstart"]

SUITE = "clean,pgd-20,autoattack"
RADII = (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def quickstart(out: Path, say: Callable[[str], None] = print) -> list[Result]:
    """Train, attack and compare three networks; `out` gets their runs, `curve.png` and `gallery.png`.

    A second call with the same folder resumes.
    """
    began = time.monotonic()
    teacher = recipes.load("digits.teacher")
    test = data.load(teacher.data.name, "test")
    attacks(SUITE, teacher.attack.threat)  # report a missing package before the training, not after it
    require_plots("The quickstart")
    runs = {"teacher": _run(teacher, out / "teacher", say)}
    runs["pgd_at"] = _run(recipes.load("digits.pgd_at"), out / "pgd_at", say)
    taught = recipes.load("digits.pgd_at_igdm").replace(teacher=str(out / "teacher"))
    runs["pgd_at_igdm"] = _run(taught, out / "pgd_at_igdm", say)
    networks = {f"{name} ({run.recipe.student})": models.load(run.folder) for name, run in runs.items()}
    results = [_result(run, *named, test, say) for run, named in zip(runs.values(), networks.items(), strict=True)]
    _draw(out, networks, test, teacher)
    say(f"pictures: {out}/curve.png, {out}/gallery.png; {time.monotonic() - began:.0f} s in all")
    return results


def _run(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Run:
    say(f"{folder.name}: training {recipe.student}, {recipe.epochs} epochs")
    return distill(recipe, folder)


def _result(run: Run, name: str, network: nn.Module, test: Split, say: Callable[[str], None]) -> Result:
    if run.result.exists() and not stale_result_message(run.result):
        return Result.load(run.result)
    files = ResultFiles(run.result)
    with files.writing():
        result = evaluate(
            network, test, run.recipe.attack.threat, SUITE,
            batch_size=len(test), name=name, keep=files.unfinished, report=lambda line: say(f"{name}: {line}"),
        )  # fmt: skip
        chosen = Selection.from_header(provenance(run.best), test.fingerprint())
        return files.store(replace(result, chosen=chosen, command="advdistill quickstart"))


def _draw(out: Path, networks: dict[str, nn.Module], test: Split, recipe: Recipe) -> None:
    threat = recipe.attack.threat
    draw_curves({name: robust_curve(net, test, RADII) for name, net in networks.items()}, threat.eps, out / "curve.png")
    part = test.take(first_of_each(test))
    contexts = {name: Context(EvaluatedModel(net, test), part, threat) for name, net in networks.items()}
    predictions = {name: predict(context) for name, context in contexts.items()}
    draw_gallery(examples(contexts, predictions), threat.eps, out / "gallery.png")
