"""Check the verdict on gradient masking for two networks of known robustness, unmodified and with added masking.

    python benchmarks/masking.py clean.pt robust.safetensors

An interrupted benchmark resumes. Neither network is masked (the clean one has robust accuracy 0), so "pass" is right
for both, and "fail" for every masked network.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import tyro
from receipt import receipt
from torch import Tensor, nn
from tyro.conf import Positional

from advdistill import Linf, data, models
from advdistill._internal.files import write_json
from advdistill.evaluation.masking import gradient_masking


class Before(nn.Module):
    """A network with a function applied to its input."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.change(x))


class Scaled(nn.Module):
    """A network whose logits are multiplied by 1000."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.network(x)


def quantised(x: Tensor) -> Tensor:
    return (x * 15).round() / 15


def detached(x: Tensor) -> Tensor:
    return x.detach()


def noisy(x: Tensor) -> Tensor:
    """Apply dropout that eval mode does not turn off."""
    return nn.functional.dropout(x, 0.1, training=True)


MASKS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "input in 16 levels": lambda network: Before(network, quantised),
    "no gradient": lambda network: Before(network, detached),
    "dropout left on": lambda network: Before(network, noisy),
    "logits x 1000": Scaled,
    "softmax outputs": lambda network: nn.Sequential(network, nn.Softmax(1)),
}


def main(
    clean: Annotated[str, Positional],
    robust: Annotated[str, Positional],
    n: int = 200,
    masked_n: int = 50,
    out: Path = Path("runs/masking"),
) -> None:
    """Test both networks on `n` CIFAR-10 test images, with each other as surrogate; masked networks on `masked_n`."""
    networks = {"clean": models.load(clean), "robust": models.load(robust)}
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, network in networks.items():
        surrogate = networks["robust" if name == "clean" else "clean"]
        rows.append(row(out, name, "as it is", network, n, surrogate))
        rows += [row(out, name, mask, put_on(network), masked_n) for mask, put_on in MASKS.items()]
    print(f"{receipt()}\n\n| network | mask | images | verdict | findings |\n|---|---|--:|---|---|")
    print("\n".join(rows))


def row(out: Path, name: str, mask: str, network: nn.Module, n: int, surrogate: nn.Module | None = None) -> str:
    file = out / f"{name}, {mask}.json"
    if not file.exists():
        test = data.load("cifar10", "test")
        write_json(file, gradient_masking(network, test, Linf("8/255"), n=n, surrogate=surrogate).to_json())
    verdict = json.loads(file.read_text())
    worst = [f["name"] for f in verdict["findings"] if f["status"] == verdict["status"] != "pass"]
    return f"| {name} | {mask} | {verdict['n']} | {verdict['status']} | {', '.join(worst)} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
