"""Does IGDM raise the cosine between the student's and the teacher's input gradients? With and without it.

    python benchmarks/igdm.py digits --seeds 3
    python benchmarks/igdm.py cifar10 --seeds 1 --teacher file:cifar10_resnet18_linf_8_255.safetensors

Interrupted, it continues; the tables go to benchmarks/results/igdm_DATA.md.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import tyro
from digits import cell
from receipt import receipt

from advdistill import ARD, IGDM, PGD, RSLAD, AdaAD, Recipe, Result, data, distill, evaluate, models, recipes
from advdistill.evaluation import gradient_alignment

BASES = {"ard": ARD(distill_weight=1, temperature=1), "rslad": RSLAD(), "adaad": AdaAD()}
ATTACKS = {"digits": ("clean", "pgd-20", "autoattack"), "cifar10": ("clean", "pgd-20")}


def main(
    name: tyro.conf.Positional[Literal["digits", "cifar10"]],
    seeds: int = 3,
    weight: float = 5.0,
    teacher: str | None = None,
    out: Path = Path("runs/igdm"),
    results: Path = Path("benchmarks/results"),
) -> None:
    began = time.monotonic()
    if teacher is None:
        teacher = str(distill(recipes.load(f"{name}.teacher"), out / "teacher"))
    rows = []
    for base, method in BASES.items():
        for label, tried in ((base, method), (f"{base}+igdm", method + IGDM(weight=weight))):
            folders = [out / f"{name}-{weight:g}-{label}-{seed}" for seed in range(seeds)]
            for seed, folder in enumerate(folders):
                distill(setting(name).replace(method=tried, teacher=teacher, seed=seed), folder)
            rows.append(row(name, label, folders, teacher))
            print(rows[-1], flush=True)
    minutes = (time.monotonic() - began) / 60
    head = f"# IGDM and input gradients: {name}\n\n{receipt()}\n- wall time: {minutes:.0f} min"
    table = "\n".join([*header(ATTACKS[name]), *rows])
    (results / f"igdm_{name}.md").write_text(f"{head}\n\n{CAPTION}{SETTINGS[name]}\n\n{table}\n")


def setting(name: str) -> Recipe:
    if name == "digits":
        return recipes.load("digits.rslad")
    recipe = recipes.load("cifar10.rslad_small")
    recipe = recipe.replace(epochs=5, attack=PGD(5, "2/255", recipe.attack.threat))
    return recipe.replace(data=replace(recipe.data, train_images=2000))


def row(name: str, label: str, folders: list[Path], teacher: str) -> str:
    test, network = data.load(name, "test"), models.load(teacher)
    students = [models.load(folder) for folder in folders]
    found = [gradient_alignment(student, network, test.first(600)) for student in students]
    figures = [cell([getattr(f[scalar], what) for f in found], 3) for scalar, what in COLUMNS]
    measured = [attacked(name, student, folder) for student, folder in zip(students, folders, strict=True)]
    figures += [cell([100 * result[attack].accuracy for result in measured]) for attack in ATTACKS[name]]
    return f"| {label} | {len(folders)} | {' | '.join(figures)} |"


def attacked(name: str, student, folder: Path) -> Result:
    path = folder / "result.json"
    if not path.exists():
        threat, suite = setting(name).attack.threat, ",".join(ATTACKS[name])
        evaluate(student, data.load(name, "test"), threat, suite, n=600, name=folder.name).save(path)
    return Result.load(path)


def header(attacks: tuple[str, ...]) -> list[str]:
    names = ["method", "runs", "cosine, CE", "distance, CE", "cosine, logit", "distance, logit", *attacks]
    return [f"| {' | '.join(names)} |", f"|---|{'--:|' * (len(names) - 1)}"]


COLUMNS = [(scalar, what) for scalar in ("cross_entropy", "true_logit") for what in ("cosine", "distance")]
CAPTION = """Mean cosine and mean L2 distance of the gradients of student and teacher with respect to the clean image
(fp32, eval mode, first 600 test images), of the cross-entropy and of the true label's logit; the paper does not say
which. ARD with weight 1 and temperature 1; each pair shares seeds, data order and attack starts. Accuracy in % of the
same images; mean and standard deviation over seeds. """
SETTINGS = {
    "digits": "Student convnet-4, teacher convnet-24, 60 epochs, batch 64, Linf eps 0.2.",
    "cifar10": "Student ResNet-8, teacher a robust ResNet-18, 2,000 images, 5 epochs, batch 64, PGD-5, Linf 8/255.",
}


if __name__ == "__main__":
    tyro.cli(main)
