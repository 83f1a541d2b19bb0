"""What the commands do. Each returns an exit code."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

from . import data as datasets
from . import methods, models, recipes
from .data import Split
from .evaluation import evaluate as measure
from .evaluation.suites import attacks
from .evaluation.verdicts import discard
from .files import write_atomic, write_json
from .quickstart import quickstart as run_quickstart
from .recipe import THREATS, Recipe
from .report.compare import VERDICTS
from .report.compare import compare as comparison
from .report.table import table
from .result import Result
from .run import Run
from .threat import Linf, Threat
from .train import distill
from .train.signals import Interrupted

__all__ = ["choose", "compare", "evaluate", "quickstart", "show", "train"]

CONSOLE = Console(highlight=False)
UNFINISHED = ".unfinished.safetensors"  # in place of a result's .json: the verdicts so far


def choose(recipe: str, method: str | None, threat: str | None) -> Recipe:
    """A recipe by name or file, with another method or threat model in its place."""
    chosen = recipes.load(recipe)
    if method is not None:
        chosen = replace(chosen, method=methods.build(method))
    if threat is not None:
        kind = THREATS[threat]()
        chosen = replace(chosen, attack=replace(chosen.attack, threat=kind, step_size=kind.eps / 4))
    return chosen


def train(recipe: Recipe, out: Path, suite: str | None, **where) -> int:
    if suite is not None:
        attacks(suite, recipe.attack.threat)  # a wrong name is better refused before the training than after
    try:
        run = distill(recipe, out, **where)
    except Interrupted as stopped:
        print(f"advdistill: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    if suite is None:
        return 0
    if run.result.exists():  # the run was finished and evaluated before
        _show([Result.load(run.result)])
        return 0
    return evaluate(str(run.folder), suite)


def evaluate(
    model: str,
    suite: str,
    data: str | None = None,
    folder: str | None = None,
    eps: str | None = None,
    norm: str | None = None,
    n: int | None = None,
    batch_size: int = 256,
    accelerated: bool = False,
    masking: bool = False,
    seed: int = 0,
    devices: int | str = 1,
    out: Path | None = None,
) -> int:
    run = Run(model) if Path(model).is_dir() else None
    network = models.load(model)
    split = _test_split(run, data, folder)
    target = out or (run and run.result)
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    device, shared = _processes(devices)
    result = measure(
        network, split, _threat(run, norm, eps), suite,
        n=n, batch_size=batch_size, seed=seed, name=Path(model).name, accelerated=accelerated, device=device,
        keep=target and target.with_suffix(UNFINISHED), shared=shared, report=_say if _is_first() else None,
    )  # fmt: skip
    result = replace(result, chosen=run and run.chosen, command=shlex.join(["advdistill", *sys.argv[1:]]))
    if target and _is_first():
        result = _store(result, target)
        _say(f"written to {target}")
    _show([result])
    if masking and _is_first():
        _look_for_masking(network, split, _threat(run, norm, eps), seed, device, target)
    return 0


def _look_for_masking(network, split: Split, threat: Threat, seed: int, device, target: Path | None) -> None:
    from .evaluation.masking import gradient_masking

    say = partial(CONSOLE.print, markup=False)
    verdict = gradient_masking(network, split, threat, seed=seed, device=device, report=say)
    say(f"gradient masking: {verdict.status}")
    if target:
        write_json(target.with_suffix(".masking.json"), verdict.to_json())


def _store(result: Result, path: Path) -> Result:
    """Write a result and its verdicts; earlier ones at their place are joined if measured alike, else kept beside."""
    fresh, verdicts = path.with_suffix(UNFINISHED), path.with_suffix(VERDICTS)
    if path.exists():
        earlier = Result.load(path)
        joined = result.joined(earlier)
        if joined is None:
            for file in filter(Path.exists, (path, verdicts)):
                file.rename(file.with_name(f"{path.stem}-{earlier.date.replace(':', '')}{file.name[len(path.stem):]}"))
        result = joined or result
    known = (load_file(verdicts) if verdicts.exists() else {}) | load_file(fresh)
    described = {"fingerprint": result.fingerprint, "threat": result.threat, "seed": str(result.seed)}
    write_atomic(verdicts, lambda temporary: save_file(known, temporary, described))
    result.save(path)
    discard(fresh)
    return result


def _processes(devices: int | str) -> tuple[torch.device | str, bool]:
    """The device of this process, and whether others share the work; starts them if asked for."""
    if torch.distributed.is_initialized():
        return _device(), torch.distributed.get_world_size() > 1
    if str(devices) == "1" and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return _device(), False
    from lightning_fabric import Fabric

    fabric = Fabric(devices=devices, strategy="ddp")
    fabric.launch()
    return fabric.device, fabric.world_size > 1


def compare(runs: Sequence[Path]) -> int:
    CONSOLE.print(comparison(runs))
    return 0


def show(what: str, as_json: bool) -> int:
    """The methods, models, datasets or recipes there are."""
    kinds = {"methods": methods, "models": models, "datasets": datasets, "recipes": recipes}
    rows = kinds[what].describe()
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    shown = Table(*rows[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    CONSOLE.print(shown)
    return 0


def _test_split(run: Run | None, name: str | None, folder: str | None) -> Split:
    if run is None and name is None:
        raise ValueError("Which data? A checkpoint does not say; give --data, e.g. --data cifar10.")
    known = run.recipe.data if run else None
    return datasets.load(name or known.name, "test", folder or (known.folder if known else None))


def _threat(run: Run | None, norm: str | None, eps: str | None) -> Threat:
    known = run.recipe.attack.threat if run else Linf()
    kind = THREATS[norm] if norm else type(known)
    if eps is not None:
        return kind(eps)
    return known if kind is type(known) else kind()


def _is_first() -> bool:
    """Whether this is the only process, or the one that speaks for all."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(results: Sequence[Result]) -> None:
    if _is_first():
        CONSOLE.print(table(results))


def quickstart(out: Path) -> int:
    _show(run_quickstart(out, _say))
    return 0
