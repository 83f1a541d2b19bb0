"""A training step beside the textbook loop, in one process and in alternation.

    python benchmarks/step.py                       # every case that this machine can do in minutes
    python benchmarks/step.py --case adaad-resnet18 --pairs 9

Ours is the trainer's own step on random images, augmentation included. The table goes to benchmarks/results/.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro
from lightning_fabric import Fabric
from receipt import receipt
from textbook import LOSSES
from torch import nn

from advdistill import IGDM, PGD, RSLAD, SGD, AdaAD, Data, Distiller, Linf, Recipe, Run, models
from advdistill.data import Split
from advdistill.train.loop import Trainer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
METHODS = {"rslad": RSLAD(), "adaad": AdaAD(), "adaad+igdm": AdaAD() + IGDM(weight=5)}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    method: str
    student: str
    teacher: str
    batch: int
    precision: str
    target: str


CASES = {
    "adaad-resnet18": Case("adaad", "resnet18", "resnet18", 64, "bf16", "2.5 (CPU), 5 (GPU)"),
    "rslad-resnet18": Case("rslad", "resnet18", "resnet18", 64, "bf16", "2.5 (CPU), 5 (GPU)"),
    "igdm-wrn": Case("adaad+igdm", "resnet18", "wide_resnet-34-10", 128, "bf16", "2.2 (CPU), 4 (GPU)"),
    "adaad-resnet18-fp32": Case("adaad", "resnet18", "resnet18", 64, "fp32", "1.15 (CPU), 1.5 (GPU)"),
    "rslad-resnet8": Case("rslad", "resnet8", "resnet18", 64, "bf16", "3 (CPU), 6 (GPU)"),
}


def textbook(case: Case) -> Callable[[], None]:
    student, teacher, x, y = *networks(case), *images(case)
    student, teacher = student.to(DEVICE), teacher.to(DEVICE).eval()
    optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        loss = LOSSES[case.method](student, teacher, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(case: Case, folder: Path) -> Callable[[], None]:
    attack = PGD(10, "2/255", Linf("8/255"))
    recipe = Recipe(
        METHODS[case.method], student=case.student, data=Data("cifar10", augment="crop_flip"), attack=attack,
        optimizer=SGD(0.1), batch_size=case.batch, precision=case.precision,
    )  # fmt: skip
    bf16 = case.precision == "bf16"
    fabric = Fabric(devices=1, precision="bf16-mixed" if bf16 else "32-true")
    student, teacher = networks(case)
    pixels = torch.randint(256, (case.batch, 3, 32, 32), dtype=torch.uint8)
    split = Split(pixels, torch.arange(case.batch) % 10, tuple("abcdefghij"), "random/train")
    distiller = Distiller(recipe.method, teacher, attack=attack, fast=torch.bfloat16 if bf16 else torch.float32)
    trainer = Trainer(fabric, recipe, student, distiller, split, split, Run(folder))
    (share,) = trainer.batches.epoch(0)

    def step() -> None:
        trainer._step(share, 0)
        trainer.recent.clear()

    return step


def networks(case: Case) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return models.create(case.student), models.create(case.teacher)


def images(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(case.batch, 3, 32, 32, device=DEVICE), torch.arange(case.batch, device=DEVICE) % 10


def seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def row(name: str, case: Case, pairs: int, folder: Path) -> str:
    plain, fast = textbook(case), ours(case, folder)
    plain(), fast()
    times = [(seconds(plain), seconds(fast)) for _ in range(pairs)]
    slow, quick = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"| {name} | {slow:.3f} s | {quick:.3f} s | {case.batch / quick:.0f} | {ratio} | {case.target} |"


@dataclass(frozen=True)
class Options:
    case: tuple[str, ...] = field(default_factory=lambda: tuple(name for name in CASES if name != "igdm-wrn"))
    """Rows; the wide teacher takes minutes a step on a CPU."""
    pairs: int = 5
    out: Path = Path("benchmarks/results/step.md")


def main(options: Options) -> None:
    lines = [HEAD]
    with TemporaryDirectory() as folder:
        for name in options.case:
            lines.append(row(name, CASES[name], options.pairs, Path(folder) / name))
            print(lines[-1], flush=True)
    head = f"# A training step beside the textbook loop\n\n{receipt()}"
    options.out.write_text(f"{head}\n\n{CAPTION}\n\n" + "\n".join(lines) + "\n")


HEAD = """| case | textbook | ours | images/s | ratio | target |
|---|--:|--:|--:|--:|--:|"""
CAPTION = """Medians over pairs run in alternation; the ratio is that of each pair, median (smallest to largest).
Textbook: eager fp32 as released scripts have it, `benchmarks/textbook.py`. Ours: the trainer's step, images given."""


if __name__ == "__main__":
    main(tyro.cli(Options))
