"""Runs evaluated on the training images that they held out, to choose among recipes without the test split.

    OMP_NUM_THREADS=1 python benchmarks/held_out.py benchmarks/results/studies/digits_attack_steps/runs/*

Runs whose names differ in `-seedN` alone are one row: the mean of their accuracies.
"""

import re
from collections import defaultdict
from pathlib import Path
from statistics import mean

import tyro
from tyro.conf import Positional

from advdistill import evaluate, models
from advdistill.run import Run
from advdistill.train.given import training_data


def accuracies(run: Run, suite: str) -> dict[str, float]:
    """Accuracy in % on the held-out images of a run, by attack."""
    *_, held_out = training_data(run.recipe, None, None, None)
    result = evaluate(models.load(run.student_reference), held_out, run.recipe.attack.threat, suite)
    return {one.attack: 100 * one.accuracy for one in result.measurements}


def main(runs: Positional[list[Path]], suite: str = "clean,autoattack") -> None:
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for folder in runs:
        rows[re.sub(r"-seed\d+$", "", folder.name)].append(accuracies(Run(folder), suite))
    for name, of_seeds in sorted(rows.items()):
        means = {attack: mean(one[attack] for one in of_seeds) for attack in of_seeds[0]}
        print(f"{name}, {len(of_seeds)} runs:", ", ".join(f"{attack} {value:.1f}" for attack, value in means.items()))


if __name__ == "__main__":
    tyro.cli(main)
