"""Measure the cost of a training step by batch size, attack steps, network size and number of processes.

    python benchmarks/scaling.py                    # AdaAD, resnet8 from ResNet-18, unless the row says otherwise
"""

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from machine import seconds
from receipt import receipt
from step import Case, ours

BASE = Case("adaad", "resnet8", "resnet18", 32, "bf16", 0, 0)
AXES = {
    "batch": [(f"{size} images", replace(BASE, batch=size), 10) for size in (8, 16, 32, 64, 128)],
    "attack steps": [(f"{steps} steps", BASE, steps) for steps in (1, 2, 5, 10, 20)],
    "student from teacher": [
        ("resnet8 from resnet8", replace(BASE, teacher="resnet8"), 10),
        ("resnet8 from resnet18", BASE, 10),
        ("resnet18 from resnet18", replace(BASE, student="resnet18"), 10),
        ("resnet18 from wide_resnet-28-4", replace(BASE, student="resnet18", teacher="wide_resnet-28-4"), 10),
    ],
}


@dataclass(frozen=True)
class Options:
    repeats: int = 3
    processes: tuple[int, ...] = (1, 2)
    out: Path = Path("benchmarks/results/scaling.md")
    worker: int | None = None
    """Used by the benchmark itself: be one of this many processes, and print images/s."""


def main(options: Options) -> None:
    if options.worker:
        return worker(options.worker, options.repeats)
    lines = []
    for axis, rows in AXES.items():
        lines += ["", f"| {axis} | step | images/s | µs per image and attack step |", "|---|--:|--:|--:|"]
        for name, case, steps in rows:
            lines.append(row(name, case, steps, options.repeats))
            print(lines[-1], flush=True)
    speeds = {n: in_processes(n) for n in options.processes}
    lines += ["", "| processes | images/s | relative to one process |", "|---|--:|--:|"]
    lines += [f"| {n} | {speed:.0f} | {speed / speeds[1]:.2f} |" for n, speed in speeds.items()]
    print("\n".join(lines[-len(speeds) :]))
    options.out.write_text(f"# Cost of a training step by size\n\n{receipt()}\n\n{CAPTION}\n" + "\n".join(lines) + "\n")


def row(name: str, case: Case, steps: int, repeats: int) -> str:
    step = ours(case, steps)
    step()
    taken = statistics.median(seconds(step) for _ in range(repeats))
    return f"| {name} | {taken:.3f} s | {case.batch / taken:.0f} | {1e6 * taken / case.batch / steps:.0f} |"


def in_processes(n: int) -> float:
    """Return the images/s of `n` processes of one thread each."""
    command = [sys.executable, __file__, "--worker", str(n)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


def worker(n: int, repeats: int) -> None:
    """Time a step in `n` processes, which Fabric starts; the first process prints the images/s of all."""
    step = ours(BASE, devices=n)
    step()
    taken = statistics.median(seconds(step) for _ in range(repeats))
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(BASE.batch / taken)


CAPTION = """One AdaAD step of the trainer, with 10 attack steps on 32 images, bf16, a resnet8 student, a ResNet-18
teacher and random images, unless the row says otherwise; medians. Processes: one thread each, gloo, the global batch
divided among them."""


if __name__ == "__main__":
    main(tyro.cli(Options))
