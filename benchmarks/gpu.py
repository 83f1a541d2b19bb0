"""Commands of at most ten minutes for a GPU that is lent for half an hour: see benchmarks/gpu.md.

    python benchmarks/gpu.py tests step --out $OUT        # the CUDA tests, then a step against the textbook loop
    python benchmarks/gpu.py train --minutes 9            # CIFAR-10, ResNet-18; the same command resumes it
    python benchmarks/gpu.py train evaluate --minutes 3 --out $OUT

`--tiny` tries the same commands on a CPU in two minutes.
"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "build" / "gpu"  # files sent with a command: CIFAR-10's binary files, the teacher
STATE = ROOT / "build" / "gpu_state"  # ignored by git, so it stays on the machine between two commands
PIECE = 15 * 2**20  # bytes; a file that is sent back may have at most 16 MiB


@dataclass
class Options:
    stages: tyro.conf.Positional[tuple[Literal["keep", "tests", "step", "train", "evaluate"], ...]]
    """`keep` only stores the files that were sent with the command."""
    minutes: float = 9
    """Minutes of training, after which the state is saved and the command ends."""
    epochs: int = 40
    out: Path = ROOT / "build" / "gpu_out"
    """Folder of the files that are sent back."""
    tiny: bool = False


def main(options: Options) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    STATE.mkdir(parents=True, exist_ok=True)
    for file in PARTS.glob("*"):
        shutil.copy(file, STATE)
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU", torch.__version__, flush=True)
    return max([0, *(STAGES[stage](options) for stage in options.stages if stage in STAGES)])


def tests(options: Options) -> int:
    """Run the CUDA tests. Expected: no test is skipped, and every fast path equals the plain path on CUDA."""
    return run([sys.executable, "-m", "pytest", "-q", "-rs", "tests/test_cuda.py"])


def step(options: Options) -> int:
    """Time a step. Expected: 2.5 to 6 times as fast as the textbook loop, by case (goals: benchmarks/step.py)."""
    cases = ["rslad-resnet8"] if options.tiny else [*("adaad-resnet18", "rslad-resnet18", "rslad-resnet8"), "igdm-wrn"]
    sizes = ["--pairs", 1 if options.tiny else 5, "--out", options.out / "step.md"]
    return run([sys.executable, "benchmarks/step.py", "--case", *cases, *sizes])


def train(options: Options) -> int:
    """Train. Expected: seconds per epoch, and a state from which the same command resumes bit for bit."""
    small = ["--student", "resnet8", "--epochs", "2", "--data.train-images", "600", "--attack.steps", "2"]
    sizes = small if options.tiny else ["--epochs", options.epochs, "--precision", "bf16", "--compile"]
    command = advdistill(
        "train", "cifar10.rslad_resnet18", "--teacher", TEACHER, "--data.folder", STATE, "--schedule.kind", "onecycle",
        *sizes, "--out", STATE / "run", "--suite", "None",
    )  # fmt: skip
    code = run(command, seconds=60 * options.minutes)
    for file in (STATE / "run").glob("metrics.jsonl"):
        shutil.copy(file, options.out)
    for file in (STATE / "run").glob("best.safetensors"):
        weights = file.read_bytes()
        for at in range(0, len(weights), PIECE):  # `cat` joins the pieces
            (options.out / f"best.{at // PIECE}").write_bytes(weights[at : at + PIECE])
    return code if code != 128 + signal.SIGTERM else 0  # stopped at the time limit, state saved


def evaluate(options: Options) -> int:
    """Evaluate: PGD-20 on all test images, AutoAttack on 1,000. RSLAD's paper, 300 epochs: 83.4 clean, 51.5 robust."""
    few = ("--n", "20") if options.tiny else ()
    sizes = [("clean,pgd-20", few), ("clean,pgd-20,autoattack", few or ("--n", "1000"))]
    commands = (
        advdistill("evaluate", STATE / "run", "--suite", suite, *n, "--out", options.out / f"result{i}.json")
        for i, (suite, n) in enumerate(sizes)
    )
    return max([run(command) for command in commands])


TEACHER = f"file:{STATE / 'cifar10_resnet18_linf_8_255.safetensors'}"
STAGES = {"tests": tests, "step": step, "train": train, "evaluate": evaluate}


def advdistill(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "advdistill", *arguments]


def run(command: list[object], seconds: float | None = None) -> int:
    """Run a command and return its exit code; after `seconds`, send it SIGTERM, as SLURM does."""
    print("$", *command, flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = subprocess.Popen([str(word) for word in command], env={**os.environ, "PYTHONPATH": path}, cwd=ROOT)
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        running.terminate()
        return running.wait()


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
