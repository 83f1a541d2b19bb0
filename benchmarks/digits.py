"""Every method on digits: the same small student, budget and teachers.

    python benchmarks/digits.py --seeds 3

Measured results are saved in benchmarks/results/digits/ and not run again; the table is benchmarks/results/digits.md.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path

import tyro
from receipt import receipt

from advdistill import Recipe, Result, Run, data, distill, evaluate, models, recipes

ROWS = [name.removeprefix("digits.") for name in recipes.names() if name.startswith("digits.")][1:]  # but the teacher
ATTACKS = ("clean", "pgd-20", "autoattack")


RESULTS = Path(__file__).parent / "results"


def main(seeds: int = 3, out: Path = Path("runs/digits")) -> None:
    began = time.monotonic()
    teachers = {
        "teacher": str(distill(recipes.load("digits.teacher"), out / "teacher")),
        "clean_teacher": str(distill(recipes.load("digits.standard").replace(student="convnet-24"), out / "clean")),
    }
    rows = {"*teacher*": [measured(out / "teacher")], "*clean teacher*": [measured(out / "clean")]}
    for name in ROWS:
        base = recipes.load(f"digits.{name}")
        rows[name] = [student(base.replace(seed=s, **teachers), out / f"{name}-{s}") for s in range(seeds)]
    minutes = (time.monotonic() - began) / 60
    text = f"# Every method on digits\n\n{receipt()}\n- wall time: {minutes:.0f} min\n\n{CAPTION}\n\n{markdown(rows)}\n"
    (RESULTS / "digits.md").write_text(text)
    print(text)


CAPTION = """Student convnet-4 (1,702 parameters), 60 epochs, batch 64, eps 0.2 (Linf), recipes `digits.*`; checkpoint
chosen by PGD-10 on 119 held-out training images. Accuracy in % on the 600 test images; mean and standard deviation over
seeds.
The 95 % interval of one run is about 4 points either way, so neighbours are not distinguishable."""


def student(recipe: Recipe, folder: Path) -> Result:
    if not kept(folder).exists():
        distill(recipe, folder)
    return measured(folder)


def measured(folder: Path) -> Result:
    path = kept(folder)
    if not path.exists():
        test = data.load("digits", "test")
        threat = recipes.load("digits.teacher").attack.threat
        result = evaluate(models.load(folder), test, threat, ",".join(ATTACKS), batch_size=len(test), name=folder.name)
        replace(result, chosen=Run(folder).chosen, command="python benchmarks/digits.py").save(path)
    return Result.load(path)


def kept(folder: Path) -> Path:
    """Where a run's figures stand; they outlive the run."""
    return RESULTS / "digits" / f"{folder.name}.json"


def markdown(rows: dict[str, list[Result]]) -> str:
    lines = [f"| method | runs | {' | '.join(ATTACKS)} |", f"|---|--:|{'--:|' * len(ATTACKS)}"]
    for name, results in rows.items():
        cells = [cell([100 * r[attack].accuracy for r in results]) for attack in ATTACKS]
        lines.append(f"| {name} | {len(results)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: list[float], digits: int = 1) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    tyro.cli(main)
