"""Cost of a training step against batch size, attack steps, network size and processes.

    python benchmarks/scaling.py                    # AdaAD, resnet8 from ResNet-18 unless the row says otherwise
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
    "networks": [
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
    """Be one of so many processes, and print images/s."""


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
    lines += ["", "| processes | images/s | to one |", "|---|--:|--:|"]
    lines += [f"| {n} | {speed:.0f} | {speed / speeds[1]:.2f} |" for n, speed in speeds.items()]
    print("\n".join(lines[-len(speeds) :]))
    options.out.write_text(f"# Cost against size\n\n{receipt()}\n\n{CAPTION}\n" + "\n".join(lines) + "\n")


def row(name: str, case: Case, steps: int, repeats: int) -> str:
    step = ours(case, steps)
    step()
    taken = statistics.median(seconds(step) for _ in range(repeats))
    return f"| {name} | {taken:.3f} s | {case.batch / taken:.0f} | {1e6 * taken / case.batch / steps:.0f} |"


def in_processes(n: int) -> float:
    """Images/s of `n` processes of one thread each."""
    command = [sys.executable, __file__, "--worker", str(n)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


def worker(n: int, repeats: int) -> None:
    """Fabric starts this script `n` times; the first process says how fast they are together."""
    step = ours(BASE, devices=n)
    step()
    taken = statistics.median(seconds(step) for _ in range(repeats))
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(BASE.batch / taken)


CAPTION = """AdaAD by the trainer's own step, 10 attack steps on 32 images, bf16, resnet8 from ResNet-18, random images,
unless the row says otherwise; medians. Processes: one thread each, gloo, the global batch divided among them."""


if __name__ == "__main__":
    main(tyro.cli(Options))
