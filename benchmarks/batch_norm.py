"""What the images behind batch-norm's running statistics are worth: methods x statistics x seeds, on digits.

    python benchmarks/batch_norm.py --seeds 3

Each cell is an ordinary run, evaluated by AutoAttack on the whole test split. An interrupted benchmark resumes.
`tracked` is the pass at x - d tracked too, as in the released code (`passes: released`).
"""

import time
from pathlib import Path

import tyro
from digits import cell
from receipt import receipt

from advdistill import IGDM, RSLAD, AdaAD, Linf, Result, Run, data, distill, evaluate, models, recipes

METHODS = {
    "rslad": RSLAD(), "rslad+igdm": RSLAD() + IGDM(weight=1), "adaad": AdaAD(), "adaad+igdm": AdaAD() + IGDM(weight=1),
}  # fmt: skip
KINDS = {
    "training": {}, "adversarial": {"statistics": "adversarial"}, "mixed": {"statistics": "mixed"},
    "tracked": {"passes": "released"},
}  # fmt: skip
ATTACKS = ("clean", "pgd-20", "autoattack")


def main(
    seeds: int = 3, kinds: tuple[str, ...] = ("training", "adversarial", "tracked"), eps: float = 0.2,
    methods: tuple[str, ...] = tuple(METHODS), epochs: int | None = None, out: Path = Path("runs/batch_norm"),
) -> None:  # fmt: skip
    began, test = time.monotonic(), data.load("digits", "test")
    base = recipes.load("digits.rslad").replace(teacher=str(out / "teacher"))
    base = base.replace(epochs=epochs or base.epochs)
    distill(recipes.load("digits.teacher").replace(epochs=epochs or 40), out / "teacher")
    found: dict[tuple[str, str], list[Result]] = {}
    for seed in range(seeds):
        for method in methods:
            for kind in kinds:
                recipe = base.replace(method=METHODS[method], seed=seed, **KINDS[kind])
                run = distill(recipe, out / f"{method}-{kind}-{seed}")
                found.setdefault((method, kind), []).append(measured(run, test, eps))
                result = found[method, kind][-1]
                print(f"{method} {kind} {seed}:", *(f"{100 * result[attack].accuracy:.1f}" for attack in ATTACKS))
    print(f"{receipt()}\n- wall time: {(time.monotonic() - began) / 60:.0f} min\n")
    print("| method | statistics | seeds | clean | PGD-20 | AutoAttack |\n|---|---|--:|--:|--:|--:|")
    for (method, kind), results in found.items():
        figures = [cell([100 * result[attack].accuracy for result in results]) for attack in ATTACKS]
        print(f"| {method} | {kind} | {len(results)} | {' | '.join(figures)} |")


def measured(run: Run, test: data.Split, eps: float) -> Result:
    if not run.result.exists():
        keep = run.folder / "unfinished.safetensors"
        evaluate(models.load(run.folder), test, Linf(eps), ",".join(ATTACKS), keep=keep).save(run.result)
        keep.unlink()
    return Result.load(run.result)


if __name__ == "__main__":
    tyro.cli(main)
