"""Does IGDM raise the cosine between the student's and the teacher's input gradients? With and without, on digits.

    python benchmarks/igdm.py --seeds 3

Interrupted, it continues; the table goes to benchmarks/results/igdm.md.
"""

import time
from pathlib import Path

import tyro
from digits import cell, student
from receipt import receipt

from advdistill import ARD, IGDM, RSLAD, AdaAD, data, distill, models, recipes
from advdistill.evaluation import gradient_alignment

BASES = {
    "ard": ARD(distill_weight=1, temperature=1),
    "rslad": RSLAD(),
    "adaad": AdaAD(),
}


TABLE = Path("benchmarks/results/igdm.md")


def main(seeds: int = 3, weight: float = 5.0, out: Path = Path("runs/digits"), table: Path = TABLE) -> None:
    began = time.monotonic()
    distill(recipes.load("digits.teacher"), out / "teacher")
    rows = []
    for name, base in BASES.items():
        for method, label in ((base, name), (base + IGDM(weight=weight), f"{name}+igdm")):
            recipe = recipes.load(f"digits.{name}").replace(method=method, teacher=str(out / "teacher"))
            folders = [out / f"igdm-{weight:g}-{label}-{seed}" for seed in range(seeds)]
            results = [student(recipe.replace(seed=seed), folder) for seed, folder in enumerate(folders)]
            rows.append(row(label, folders, results, out / "teacher"))
    minutes = (time.monotonic() - began) / 60
    lines = "\n".join([HEAD, *rows])
    text = f"# IGDM and input gradients\n\n{receipt()}\n- wall time: {minutes:.0f} min\n\n{CAPTION}\n\n{lines}\n"
    table.write_text(text)
    print(text)


def row(label: str, folders: list[Path], results: list, teacher: Path) -> str:
    test, network = data.load("digits", "test"), models.load(teacher)
    found = [gradient_alignment(models.load(folder), network, test) for folder in folders]
    figures = [cell([getattr(f[scalar], what) for f in found], 3) for scalar, what in COLUMNS]
    figures += [cell([100 * r[attack].accuracy for r in results]) for attack in ("clean", "pgd-20", "autoattack")]
    return f"| {label} | {len(folders)} | {' | '.join(figures)} |"


COLUMNS = [(scalar, what) for scalar in ("cross_entropy", "true_logit") for what in ("cosine", "distance")]
HEAD = """| method | runs | cosine, CE | distance, CE | cosine, logit | distance, logit | clean | pgd-20 | autoattack |
|---|--:|--:|--:|--:|--:|--:|--:|--:|"""
CAPTION = """Mean cosine and mean L2 distance of the gradients of student and teacher with respect to the clean test
image (fp32, eval mode, 600 digits), of the cross-entropy and of the true label's logit; the paper does not say which.
Student convnet-4, 60 epochs, batch 64, eps 0.2 (Linf), recipes `digits.*`, ARD with weight 1; each pair shares seeds,
data order and attack starts. Accuracy in %; mean and standard deviation over seeds."""


if __name__ == "__main__":
    tyro.cli(main)
