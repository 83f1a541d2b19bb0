"""Does IGDM raise the cosine between the student's and the teacher's input gradients? Measured on a study's runs.

    advdistill study benchmarks/studies/digits_igdm.yaml --out runs/digits_igdm --workers 2
    python benchmarks/igdm.py runs/digits_igdm
"""

from pathlib import Path
from statistics import fmean, stdev

import tyro
from receipt import receipt

from advdistill import data, models
from advdistill.evaluation import gradient_alignment
from advdistill.study import Study
from advdistill.study.folder import StudyFolder

COLUMNS = [(scalar, what) for scalar in ("cross_entropy", "true_logit") for what in ("cosine", "distance")]


def main(
    folder: tyro.conf.Positional[Path], study: Path = Path("benchmarks/studies/digits_igdm.yaml"),
    statistics: str = "training",
) -> None:  # fmt: skip
    matrix, test = Study.load(study), data.load("digits", "test")
    runs, groups = StudyFolder(folder, matrix), {}
    teacher = models.load(matrix.fields["teacher"])
    for cell in matrix.cells:
        if cell.levels["statistics"] == statistics:
            found = gradient_alignment(models.load(runs.run(cell).best), teacher, test)
            groups.setdefault(cell.group, []).append([getattr(found[scalar], what) for scalar, what in COLUMNS])
    print(f"{receipt()}\n")
    print("| recipe | weight | runs | cosine, CE | distance, CE | cosine, logit | distance, logit |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for (recipe, igdm, _), rows in groups.items():
        figures = [f"{fmean(values):.3f} ± {stdev(values):.3f}" for values in zip(*rows, strict=True)]
        print(f"| {recipe} | {igdm} | {len(rows)} | {' | '.join(figures)} |")


if __name__ == "__main__":
    tyro.cli(main)
