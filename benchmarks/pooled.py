"""Pool differences between combinations of a study over pairs of the same seed: Student's paired t test.

    python benchmarks/pooled.py benchmarks/results/studies/digits_nine_seeds/study.csv \\
        --first "pgd_at three steps" "rslad three steps" --second pgd_at rslad
"""

import csv
import sys
from pathlib import Path

import tyro

from advdistill.report.statistics import paired_t


def main(
    table: tyro.conf.Positional[Path], first: tuple[str, ...], second: tuple[str, ...], attack: str = "autoattack",
    mean: bool = False,
) -> None:  # fmt: skip
    """Print the difference of each pair of combinations, and the pooled one.

    Args:
        table: a study's CSV file.
        first: combinations, each as its levels with spaces between.
        second: as many combinations; each is subtracted from the one in its place.
        attack: the attack, or `clean`.
        mean: average the differences of one seed before the test, so that n is the number of seeds.
    """
    found: dict[tuple[str, str], float] = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            axes = list(row)[: list(row).index("seed")]
            if row["attack"] == attack:
                found[" ".join(row[axis] for axis in axes), row["seed"]] = int(row["correct"]) / int(row["n"])
    names = sorted({name for name, _ in found})
    if not set(first + second) <= set(names) or len(first) != len(second):
        sys.exit(f"--first and --second must be as many names, from: {', '.join(names)}; got {first} and {second}.")
    seeds = sorted({seed for _, seed in found if all((name, seed) in found for name in first + second)})
    pairs = [[found[a, seed] - found[b, seed] for seed in seeds] for a, b in zip(first, second, strict=True)]
    for a, b, values in zip(first, second, pairs, strict=True):
        print(f"{a} - {b}, {attack}: {shown(values)}")
    pooled = [sum(values) / len(values) for values in zip(*pairs, strict=True)] if mean else sum(pairs, [])
    print(f"{'mean over pairs' if mean else 'all pairs'}, {attack}: {shown(pooled)}")


def shown(values: list[float]) -> str:
    test = paired_t(values)
    low, high = test.interval
    return f"{100 * test.value:+.1f} ({100 * low:.1f} to {100 * high:.1f}, {len(values)} pairs, p = {test.p:.3f})"


if __name__ == "__main__":
    tyro.cli(main)
