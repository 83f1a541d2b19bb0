"""Compare a training step with the textbook loop, alternating in one process.

    python benchmarks/step.py                       # every case but igdm-wrn, which takes minutes per step on a CPU
    python benchmarks/step.py --case adaad-resnet18 --pairs 9

advdistill's step is the trainer's, on random images, with data loading and augmentation. `--out` is the table's file;
measurements as JSON and a plot are written next to it.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import tyro
from lightning_fabric import Fabric
from machine import DEVICE, Memory, flops, matmul_peak, seconds
from receipt import receipt
from textbook import LOSSES
from torch import nn

from advdistill import IGDM, PGD, RSLAD, SGD, AdaAD, Data, Distiller, Linf, Recipe, models
from advdistill.acceleration.frozen import to_channels_last
from advdistill.data import Split
from advdistill.data.batches import Batches
from advdistill.train.step import Step, beginning

METHODS = {"rslad": RSLAD(), "adaad": AdaAD(), "adaad+igdm": AdaAD() + IGDM(weight=5)}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    method: str
    student: str
    teacher: str
    batch: int
    precision: str
    on_cpu: float
    """Goal of the ratio on a CPU."""
    on_gpu: float
    """Goal of the ratio on a GPU."""
    teacher_every: int | None = None
    baseline: str = "textbook"


CASES = {
    "adaad-resnet18": Case("adaad", "resnet18", "resnet18", 64, "bf16", 2.5, 5),
    "rslad-resnet18": Case("rslad", "resnet18", "resnet18", 64, "bf16", 2.5, 5),
    "igdm-wrn": Case("adaad+igdm", "resnet18", "wide_resnet-34-10", 128, "bf16", 2.2, 4),
    "adaad-resnet18-fp32": Case("adaad", "resnet18", "resnet18", 64, "fp32", 1.15, 1.5),
    "rslad-resnet8": Case("rslad", "resnet8", "resnet18", 64, "bf16", 3, 6),
    "adaad-resnet8-k5": Case("adaad", "resnet8", "resnet18", 64, "bf16", 3, 3, teacher_every=5, baseline="ours, exact"),
}
MINUTES = [name for name in CASES if name != "igdm-wrn"]


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


def ours(case: Case, steps: int = 10, devices: int = 1, compiled: bool = DEVICE.type == "cuda") -> Callable[[], None]:
    attack = PGD(steps, "2/255", Linf("8/255"))
    recipe = Recipe(
        METHODS[case.method], student=case.student, data=Data("cifar10", augment="crop_flip"), attack=attack,
        optimizer=SGD(0.1), batch_size=case.batch, precision=case.precision, teacher_every=case.teacher_every,
    )  # fmt: skip
    bf16 = case.precision == "bf16"
    fabric = Fabric(devices=devices, precision="bf16-mixed" if bf16 else "32-true")
    fabric.launch()
    student, teacher = networks(case)
    pixels = torch.randint(256, (case.batch, 3, 32, 32), dtype=torch.uint8)
    split = Split(pixels, torch.arange(case.batch) % 10, tuple("abcdefghij"), "random/train")
    options = {"fast": torch.bfloat16 if bf16 else torch.float32, "compiled": compiled}
    distiller = Distiller(recipe.method, teacher, attack=attack, teacher_every=case.teacher_every, **options)
    to_channels_last(student, torch.rand(2, 3, 32, 32))
    descend = Step(fabric, recipe, distiller, beginning(fabric, recipe, student, distiller, 1))
    place = fabric.device, fabric.global_rank, fabric.world_size
    batches = Batches(split, case.batch, recipe.data.augment, 0, *place)

    def step() -> None:
        (share,) = batches.epoch(0)
        descend(share, 0, 0.0)

    step.data = lambda: list(batches.epoch(0))
    return step


def networks(case: Case) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return models.create(case.student), models.create(case.teacher)


def images(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(case.batch, 3, 32, 32, device=DEVICE), torch.arange(case.batch, device=DEVICE) % 10


@dataclass(frozen=True)
class Row:
    """The measurements of a case; seconds and MiB are per step."""

    case: str
    baseline: str
    slow: float
    quick: float
    ratios: list[float]
    target: float
    images: float
    memory: tuple[float, float]
    flops: int
    share: float
    """FLOP/s of the step, as a share of the fastest matrix product on this machine in the same precision."""
    data: float
    """Share of the step spent on loading and augmenting the batch."""

    def __str__(self) -> str:
        low, high = min(self.ratios), max(self.ratios)
        cells = [
            f"{self.case} (to {self.baseline})",
            f"{self.slow:.3f} s", f"{self.quick:.3f} s",
            f"**{statistics.median(self.ratios):.2f}** ({low:.2f} to {high:.2f})", f"{self.target:g}",
            f"{self.images:.0f}", f"{self.memory[0]:.0f}", f"{self.memory[1]:.0f}",
            f"{self.flops / self.quick / 1e9:.0f}", f"{self.share:.0%}", f"{self.data:.1%}",
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def measured(name: str, pairs: int) -> Row:
    case = CASES[name]
    torch.manual_seed(0)
    before = Memory()
    exact = replace(case, teacher_every=None)
    plain = textbook(case) if case.baseline == "textbook" else ours(exact)
    plain()
    most_plain = before.peak()
    before = Memory()
    fast = ours(case)
    fast()
    most = before.peak()
    work = flops(ours(case, compiled=False))  # the counter misses what a CUDA graph replays
    times = [(seconds(plain), seconds(fast)) for _ in range(pairs)]
    slow, quick = (statistics.median(column) for column in zip(*times, strict=True))
    peak = matmul_peak(torch.bfloat16 if case.precision == "bf16" else torch.float32)
    data = statistics.median(seconds(fast.data) for _ in range(pairs))
    return Row(
        name, case.baseline, slow, quick, [a / b for a, b in times],
        case.on_gpu if DEVICE.type == "cuda" else case.on_cpu,
        case.batch / quick, (most_plain, most), work, work / quick / peak, data / quick,
    )  # fmt: skip


def draw(rows: list[Row], path: Path) -> None:
    """Plot the ratios with their ranges and goals."""
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(rows) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        middle = statistics.median(row.ratios)
        axes.barh(place, middle, color="#4269d0", height=0.6)
        axes.plot([min(row.ratios), max(row.ratios)], [place, place], color="#222", linewidth=1.2)
        axes.plot([row.target] * 2, [place - 0.38, place + 0.38], color="#e8590c", linewidth=2)
        axes.text(0.04, place, f"{middle:.2f}", va="center", color="white", weight="bold")
    axes.set_yticks(range(len(rows)), [f"{row.case}\n(to {row.baseline})" for row in reversed(rows)], fontsize=8)
    axes.axvline(1, color="#888", linewidth=0.8)
    axes.set_xlabel("times as fast; bars: median of pairs, black: range, orange: goal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@dataclass(frozen=True)
class Options:
    case: tuple[str, ...] = field(default_factory=lambda: tuple(MINUTES))
    """Cases to measure; the case with the wide teacher takes minutes per step on a CPU."""
    pairs: int = 5
    out: Path = Path("benchmarks/results/step.md")


def main(options: Options) -> None:
    rows = []
    print(HEAD)
    for name in options.case:
        rows.append(measured(name, options.pairs))
        print(rows[-1], flush=True)
    head = f"# A training step compared with the textbook loop\n\n{receipt()}\n\n{CAPTION}"
    table = "\n".join([HEAD, *map(str, rows)])
    options.out.write_text(f"{head}\n\n{table}\n\n![ratios]({options.out.with_suffix('.png').name})\n")
    options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    draw(rows, options.out.with_suffix(".png"))


COLUMNS = [
    *("case", "baseline", "advdistill", "ratio", "goal", "images/s", "MiB, baseline", "MiB, advdistill"),
    *("GFLOP/s", "of peak", "data"),
]
HEAD = f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}"
CAPTION = """Medians over pairs run in alternation; the ratio is computed for each pair: median (smallest to largest).
Baseline: the textbook loop in eager fp32, as in released scripts (`benchmarks/textbook.py`), or our exact step if the
case says so. Advdistill: the trainer's step. MiB: peak memory during the first step, above the memory of the process
before the networks were created. GFLOP/s counts convolutions and matrix products; peak is the fastest of five square
matrix products in the step's precision, measured right after the step. Data: the share of a step spent on loading and
augmenting the batch."""


if __name__ == "__main__":
    main(tyro.cli(Options))
