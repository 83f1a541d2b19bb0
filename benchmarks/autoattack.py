"""Time AutoAttack on one network in one process: the original library, the reference and the accelerated mode.

    python benchmarks/autoattack.py ../shared/teachers/cifar10_resnet18_linf_8_255.safetensors --n 8
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from machine import DEVICE, seconds
from pyautoattack import AutoAttack as Library
from receipt import receipt
from torch import Tensor, nn

from advdistill import Linf, data, models
from advdistill.acceleration.frozen import Frozen, native_bf16
from advdistill.attacks import autoattack
from advdistill.attacks.autoattack import AutoAttack
from advdistill.data.batches import to_float


@dataclass(frozen=True)
class Options:
    model: tyro.conf.Positional[str]
    """A CIFAR-10 network, preferably a robust one: images that break early take almost no time."""
    n: int = 8
    """Number of images: the first that the network classifies correctly, in one batch."""
    pairs: int = 1
    share: float = 1.0
    """Share of each attack's steps and queries that is run, the same in every row; less than 1 takes less time."""
    out: Path = Path("benchmarks/results/autoattack.md")


def shortened(share: float) -> type:
    """Return the library's class with a share of its steps and queries; 1 gives the published attack."""

    class Shortened(Library):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            for attack in (self.apgd, self.apgd_targeted, self.fab):
                attack.n_iter = round(share * attack.n_iter)
            self.square.n_queries = round(share * self.square.n_queries)

    return Shortened


def main(options: Options) -> None:
    library = shortened(options.share)
    autoattack._library = lambda: library
    model = models.load(options.model).to(DEVICE).requires_grad_(False)
    x, y = right(model, options.n)
    users = models.load(options.model).to(DEVICE)  # its parameters require gradients, as in the library's examples
    ways = {"library as shipped": shipped(library, users, x, y), "reference": by_us(model, x, y, None)}
    ways["accelerated, folded fp32"] = by_us(model, x, y, Frozen(model))
    if native_bf16():
        ways["accelerated, bf16"] = by_us(model, x, y, Frozen(model, torch.bfloat16))
    times = {name: [] for name in ways}
    for _ in range(options.pairs):
        for name, run in ways.items():
            times[name].append(seconds(run))
            print(f"{name}: {times[name][-1]:.1f} s", flush=True)
    lines = [HEAD, *(row(name, times, run.standing) for name, run in ways.items())]
    print("\n".join(lines))
    caption = f"{Path(options.model).name}, {options.n} images that it classifies correctly, one batch; medians of "
    caption += f"{options.pairs}, run in alternation. Each attack runs with {options.share:.0%} of its steps and "
    caption += "queries. Still correct: for each image in order, 1 if it is still classified correctly, 0 if not."
    title = "# Speed of AutoAttack: the library and our two modes"
    options.out.write_text(f"{title}\n\n{receipt()}\n\n{caption}\n\n" + "\n".join(lines) + "\n")


def row(name: str, times: dict[str, list[float]], standing: Tensor) -> str:
    ratios = [slow / quick for slow, quick in zip(times["library as shipped"], times[name], strict=True)]
    which = "".join(str(int(stands)) for stands in standing)
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {name} | {statistics.median(times[name]):.1f} s | {ratio} | `{which}` |"


def right(model: nn.Module, n: int) -> tuple[Tensor, Tensor]:
    split = data.load("cifar10", "test").first(4 * n)
    x, y = to_float(split.images).to(DEVICE), split.labels.to(DEVICE)
    with torch.no_grad():
        kept = (model(x).argmax(1) == y).nonzero()[:n, 0]
    return x[kept], y[kept]


def shipped(kind: type, model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    def run() -> None:
        library = kind(model, norm="Linf", eps=8 / 255, seed=0, device=DEVICE, version="standard")
        library.verbose = False
        x_adv = library.run_standard_evaluation(x, y, batch_size=len(x))[0]
        with torch.no_grad():
            run.standing = model(x_adv).argmax(1) == y

    return run


def by_us(model: nn.Module, x: Tensor, y: Tensor, searched: nn.Module | None) -> Callable[[], None]:
    def run() -> None:
        attack = AutoAttack(Linf("8/255"))
        _, standing = attack.run(model, x, y, attacked=searched)
        run.standing = list(standing.values())[-1]

    return run


HEAD = """| implementation | time | times as fast | still correct |
|---|--:|--:|---|"""


if __name__ == "__main__":
    main(tyro.cli(Options))
