"""`advdistill train`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import methods, recipes
from .._internal.malloc import keep_freed_memory
from ..attacks.suites import attacks
from ..recipe import THREATS, Recipe
from ..results.result import Result
from ..train import distill
from ..train.signals import Interrupted
from .console import show
from .evaluation import evaluate

__all__ = ["choose", "train"]


def choose(recipe: str, method: str | None, threat: str | None) -> Recipe:
    """A recipe by name or file, with another method or threat model in its place."""
    chosen = recipes.load(recipe)
    if method is not None:
        chosen = replace(chosen, method=methods.build(method))
    if threat is not None:
        kind = THREATS[threat]()
        chosen = replace(chosen, attack=replace(chosen.attack, threat=kind, step_size=kind.eps / 4))
    return chosen


def train(recipe: Recipe, out: Path, suite: str | None, **where: Any) -> int:
    if suite is not None:
        attacks(suite, recipe.attack.threat)  # a wrong name or a missing package is better said before the training
    keep_freed_memory()
    try:
        run = distill(recipe, out, **where)
    except Interrupted as stopped:
        print(f"advdistill: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    if suite is None:
        return 0
    if run.result.exists():  # the run was finished and evaluated before
        show([Result.load(run.result)])
        return 0
    return evaluate(str(run.folder), suite)
