"""Compare adversarial fine-tuning of a clean student with training from scratch, on digits: steps to a robustness.

    python benchmarks/warm_start.py --seeds 3

For each seed: `digits.standard` is trained, and then `digits.pgd_at` once from scratch and once from that network
(student_init), with the same schedule; `eased` also raises eps over the first half of the run (eps_warmup). The table
counts the steps of adversarial training until the PGD-10 accuracy on held-out images, at the full eps, first reaches
each target. An interrupted benchmark resumes.
"""

import statistics
import time
from pathlib import Path

import tyro
from receipt import cell, receipt

from advdistill import Recipe, Run, distill, recipes
from advdistill.results.metrics import read_metrics


def main(
    seeds: int = 3, targets: tuple[float, ...] = (0.15, 0.2, 0.25, 0.3), epochs: tuple[int, ...] = (60, 20),
    out: Path = Path("runs/warm_start"),
) -> None:  # fmt: skip
    began = time.monotonic()
    rows: dict[tuple[str, int], list[list[dict[str, float]]]] = {}
    for seed in range(seeds):
        clean = distill(recipes.load("digits.standard").replace(seed=seed), out / f"clean-{seed}")
        for length in epochs:
            for name, recipe in variants(recipes.load("digits.pgd_at").replace(seed=seed, epochs=length), clean):
                run = distill(recipe, out / f"{name}-{length}-{seed}")
                rows.setdefault((name, length), []).append(read_metrics(run.metrics))
    print(f"{receipt()}\n- wall time: {(time.monotonic() - began) / 60:.0f} min\n")
    columns = [*(f"steps to {100 * t:.0f} % |" for t in targets), "best PGD-10 | clean at that epoch |"]
    print("| start | epochs | seeds |", *columns)
    print("|---|--:|--:|" + "--:|" * (len(targets) + 2))
    for (name, length), runs in rows.items():
        reached = [steps([first(run, target) for run in runs]) for target in targets]
        best = [max(run, key=lambda row: row["robust"]) for run in runs]
        figures = [cell([100 * row[key] for row in best]) for key in ("robust", "clean")]
        print(f"| {name} | {length} | {len(runs)} | {' | '.join((*reached, *figures))} |")


def variants(recipe: Recipe, clean: Run) -> list[tuple[str, Recipe]]:
    warm, eased = {"student_init": str(clean.folder)}, {"eps_warmup": 0.5}
    found = {"scratch": {}, "scratch, eased": eased, "clean": warm, "clean, eased": warm | eased}
    return [(name, recipe.replace(**changes)) for name, changes in found.items()]


def first(rows: list[dict[str, float]], target: float) -> float | None:
    """Return the steps until the accuracy first reaches the target; `None` if it never does."""
    return next((row["step"] for row in rows if row["robust"] >= target), None)


def steps(found: list[float | None]) -> str:
    reached = [value for value in found if value is not None]
    if not reached:
        return "never"
    some = f" ({len(reached)} of {len(found)})" if len(reached) < len(found) else ""
    return f"{statistics.mean(reached):.0f}{some}"


if __name__ == "__main__":
    tyro.cli(main)
