"""`advdistill train`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._internal.malloc import keep_freed_memory
from .console import not_measured_here, say, show
from .early import YAML, check_earlier, check_teachers
from .evaluate import Evaluate
from .fields import ChosenRecipe, parse

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..results.result import Result
    from ..run import Run

__all__ = ["Options", "Train", "run_train", "train"]


@dataclass(frozen=True)
class Train(ChosenRecipe):
    """Train a student; the same command resumes it.

    Most used: --teacher, --student, --epochs, --batch-size, --optimizer.lr, --attack.threat.eps, --attack.steps,
    --data.name, --seed, --out. `advdistill train RECIPE --help` shows every field of the recipe, with its value.

    advdistill train digits.teacher
    advdistill train digits.rslad --teacher runs/digits.teacher --epochs 30 --out runs/short
    advdistill train --resume runs/short
    """

    resume: Path | None = None
    """Continue the run in this folder, with its own recipe."""

    @property
    def reference(self) -> str:
        """The given recipe; with `--resume`, that run's recipe.

        Raises:
            ValueError: a recipe is given along with `--resume`.
        """
        if self.resume is None:
            return self.recipe
        if self.recipe != Train.recipe:
            raise ValueError(f"--resume continues a run with its own recipe; leave out {self.recipe}.")
        return str(self.resume / "recipe.yaml")

    @property
    def out(self) -> Path:
        """The run's default folder: the run that is resumed or given as the recipe, otherwise runs/NAME_OF_RECIPE."""
        from ..recipes import names
        from ..run import Run

        if self.resume is not None:
            return self.resume
        named = Path(self.recipe)
        if named.is_dir() and self.recipe not in names():
            return named
        if named.name == "recipe.yaml" and Run(named.parent).begun:
            return named.parent
        return Path("runs", named.stem if named.suffix in YAML else named.name)


@dataclass(frozen=True)
class Options:
    """Where a run is written, and on which devices it is trained."""

    out: Path
    """The run's folder; the same command with the same folder resumes the run."""
    suite: str | None = "quick"
    """Suite of attacks on the test split after training, as for `advdistill evaluate`; None skips the evaluation."""
    accelerator: str = "auto"
    """Accelerator for Lightning Fabric: cpu, cuda, mps or auto."""
    devices: int = 1
    """Number of processes on this machine."""
    num_nodes: int = 1
    """Number of machines."""
    loggers: tuple[str, ...] = ()
    """wandb, mlflow: log each epoch's metrics there too, in addition to metrics.jsonl and TensorBoard."""
    accept_changes: bool = False
    """Allow a run to resume with other teachers or images; its state, metrics and checkpoints record the change."""
    check_all_images: bool = False
    """When resuming, compare every image with those the run began with, not only a sample of large data."""


def run_train(argv: Sequence[str]) -> int:
    recipe, options = parse(Train, lambda choice: Options(choice.out), argv)
    return train(recipe, options)


def train(recipe: "Recipe", options: Options) -> int:
    """Train a student, evaluate it under `options.suite`, and return the exit code."""
    keep_freed_memory()
    check_teachers(recipe)
    check_earlier(options.out / "result.json")

    from ..attacks.suites import attacks
    from ..models.zoo import count_parameters
    from ..train import distill
    from ..train.signals import Interrupted

    where = dict(vars(options))
    out, suite = where.pop("out"), where.pop("suite")
    if suite is not None:
        attacks(suite, recipe.attack.threat)  # report a wrong name or a missing package before the training
    if ":" not in recipe.student:
        count_parameters(recipe.student)  # report a wrong name before Lightning is imported, which takes seconds
    try:
        run = distill(recipe, out, **where)
    except Interrupted as stopped:
        print(f"advdistill: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    if suite is None:
        return 0
    if (known := _evaluated_before(run, {attack.name for attack in attacks(suite, recipe.attack.threat)})) is not None:
        show([known])
        return 0
    return Evaluate(str(run.folder), suite)()


def _evaluated_before(run: "Run", wanted: set[str]) -> "Result | None":
    """Return the part of the run's result that this user measured; `None` if stale or without the `wanted` attacks."""
    from ..results.files import ResultFiles
    from ..results.result import Result
    from ..run import stale_result_message

    if not run.result.exists():
        return None
    result = Result.load(run.result)
    if said := stale_result_message(run.result):
        say(said)
        return None
    measured = ResultFiles(run.result).measured_by_this_user(result)
    others = [m.attack for m in result.measurements if m.attack not in measured]
    if others:
        say(not_measured_here(run.result, others))
    mine = tuple(m for m in result.measurements if m.attack in measured)
    return replace(result, measurements=mine) if wanted <= measured else None
