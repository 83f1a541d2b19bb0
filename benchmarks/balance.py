"""Plot the weights and temperatures that a method adapts during a run, by epoch, from the run's metrics.

    python benchmarks/balance.py runs/cifar10.bmtard_small balance.png
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import tyro


def main(run: tyro.conf.Positional[Path], picture: tyro.conf.Positional[Path]) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    kinds = sorted({name.split("/")[0] for name in rows[0]} & {"weight", "temperature", "class_weight"})
    if not kinds:
        raise SystemExit(f"The method in {run} adapts no weight or temperature; its metrics: {', '.join(rows[0])}.")
    figure, grid = plt.subplots(1, len(kinds), figsize=(4.5 * len(kinds), 3.4), layout="constrained", squeeze=False)
    for axes, kind in zip(grid[0], kinds, strict=True):
        for name in [name for name in rows[0] if name.startswith(f"{kind}/")]:
            axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], marker="o", label=name)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    tyro.cli(main)
