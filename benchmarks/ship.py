"""Measure one network exported as float32, fp16 and int8 files: logits, size, latency and robust accuracy.

    python benchmarks/ship.py robust.safetensors

An interrupted benchmark resumes; existing results are not measured again.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import tyro
from receipt import receipt
from tyro.conf import Positional

from advdistill import Result
from advdistill.cli.export import Export
from advdistill.export import KINDS

HEAD = "| file | MB | largest \\|Δlogit\\| | same class | p50 ms | p90 ms | p99 ms | {} |"


def main(
    model: Annotated[str, Positional],
    kinds: tuple[str, ...] = ("onnx", "onnx-fp16", "onnx-int8"),
    data: str = "cifar10",
    eps: str = "8/255",
    n: int = 1000,
    queries: int = 200,
    out: Path = Path("runs/ship"),
) -> None:
    """Export a checkpoint as each kind of file and attack every file on the first `n` test images."""
    results = {}
    for kind in kinds:
        file = out / f"model{KINDS[kind].ending}"
        results[kind] = out / f"{file.name}.result.json"
        if not results[kind].exists():
            Export(model, kind, out=file, data=data, eps=eps, n=n, queries=queries)()
    print(f"{receipt()}\n- {n} images of {data}/test, Linf {eps}, {Path(model).name}; accuracies in % (95 % interval)")
    measured = [m for file in reversed(results.values()) for m in Result.load(file).measurements]
    attacks = list(dict.fromkeys(m.attack for m in measured))
    print("\n" + HEAD.format(" | ".join(attacks)))
    print("|" + "---|" * (7 + len(attacks)))
    for kind, file in results.items():
        print(row(kind, file, attacks))
    times = json.loads(list(results.values())[-1].read_text())["file"]["latency_ms"]["torch"]
    print(f"| torch | | | | {' | '.join(f'{time:.2f}' for time in times.values())} |{' |' * len(attacks)}")


def row(kind: str, file: Path, attacks: list[str]) -> str:
    known, result = json.loads(file.read_text())["file"], Result.load(file)
    parity, times = known["parity"], known["latency_ms"][known["name"]]
    figures = {m.attack: f"{100 * m.accuracy:.1f} ({bounds(m.interval)})" for m in result.measurements}
    cells = [
        kind, f"{known['bytes'] / 1e6:.2f}", f"{parity['largest']:.2g}", f"{parity['agree']} of {parity['n']}",
        *(f"{time:.2f}" for time in times.values()), *(figures.get(attack, "") for attack in attacks),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def bounds(interval: tuple[float, float]) -> str:
    return "–".join(f"{100 * bound:.1f}" for bound in interval)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
