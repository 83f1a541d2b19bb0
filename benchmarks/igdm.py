"""Does IGDM raise the cosine between the student's and the teacher's input gradients? With and without it, on digits.

    python benchmarks/igdm.py --eps 0.05 --weight 20 --seeds 3

An interrupted benchmark resumes.
"""

import time
from pathlib import Path

import tyro
from digits import cell
from receipt import receipt

from advdistill import ARD, IGDM, PGD, RSLAD, AdaAD, Linf, Result, data, distill, evaluate, models, recipes
from advdistill.evaluation import gradient_alignment

BASES = {"ard": ARD(distill_weight=1, temperature=1), "rslad": RSLAD(), "adaad": AdaAD()}
ATTACKS = ("clean", "pgd-20")


def main(eps: float = 0.2, weight: float = 5.0, seeds: int = 3, out: Path = Path("runs/igdm")) -> None:
    began, attack = time.monotonic(), PGD(10, eps / 4, Linf(eps))
    teacher = out / f"teacher-{eps:g}"
    distill(recipes.load("digits.teacher").replace(attack=attack), teacher)
    rows = []
    for base, method in BASES.items():
        recipe = recipes.load("digits.rslad").replace(attack=attack, teacher=str(teacher))
        for label, tried in ((base, method), (f"{base}+igdm-{weight:g}", method + IGDM(weight=weight))):
            folders = [out / f"{eps:g}-{label}-{seed}" for seed in range(seeds)]
            for seed, folder in enumerate(folders):
                distill(recipe.replace(method=tried, seed=seed), folder)
            rows.append(row(label, folders, models.load(teacher), eps))
    names = ["method", "runs", "cosine, CE", "distance, CE", "cosine, logit", "distance, logit", *ATTACKS]
    print(f"{receipt()}\n- wall time: {(time.monotonic() - began) / 60:.0f} min\n")
    print("\n".join([f"| {' | '.join(names)} |", f"|---|{'--:|' * (len(names) - 1)}", *rows]))


def row(label: str, folders: list[Path], teacher, eps: float) -> str:
    test, students = data.load("digits", "test"), [models.load(folder) for folder in folders]
    found = [gradient_alignment(student, teacher, test) for student in students]
    figures = [cell([getattr(f[scalar], what) for f in found], 3) for scalar, what in COLUMNS]
    results: list[Result] = [evaluate(student, test, Linf(eps), ",".join(ATTACKS)) for student in students]
    figures += [cell([100 * result[attack].accuracy for result in results]) for attack in ATTACKS]
    return f"| {label} | {len(folders)} | {' | '.join(figures)} |"


COLUMNS = [(scalar, what) for scalar in ("cross_entropy", "true_logit") for what in ("cosine", "distance")]


if __name__ == "__main__":
    tyro.cli(main)
