"""The runs of a study on the training images that they held out: to choose a recipe without the test split.

    advdistill study benchmarks/studies/digits_attack_steps.yaml --out runs/digits_attack_steps --workers 2
    python benchmarks/held_out.py benchmarks/studies/digits_attack_steps.yaml runs/digits_attack_steps
"""

from pathlib import Path
from statistics import fmean

import tyro
from receipt import receipt
from tyro.conf import Positional

from advdistill import evaluate, models
from advdistill.run import Run
from advdistill.study import Study
from advdistill.study.worker import StudyFolder
from advdistill.train.given import training_data


def accuracies(run: Run, suite: str) -> dict[str, float]:
    """Accuracy in % on the held-out images of a run, by attack."""
    *_, held_out = training_data(run.recipe, None, None, None)
    result = evaluate(models.load(run.student_reference), held_out, run.recipe.attack.threat, suite)
    return {one.attack: 100 * one.accuracy for one in result.measurements}


def main(study: Positional[Path], folder: Positional[Path], suite: str = "clean,autoattack") -> None:
    matrix = Study.load(study)
    runs, groups = StudyFolder(folder, matrix), {}
    for cell in matrix.cells:
        groups.setdefault(" ".join(cell.group), []).append(accuracies(runs.run(cell), suite))
    attacks = list(next(iter(groups.values()))[0])
    print(f"{receipt()}\n\n| cell | runs | {' | '.join(attacks)} |\n|---|--:|{'--:|' * len(attacks)}")
    for group, found in groups.items():
        means = (f"{fmean(one[attack] for one in found):.1f}" for attack in attacks)
        print(f"| {group} | {len(found)} | {' | '.join(means)} |")


if __name__ == "__main__":
    tyro.cli(main)
