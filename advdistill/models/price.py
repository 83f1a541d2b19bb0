"""What a network costs to run: multiplications, and time on this machine."""

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .zoo import create, describe

__all__ = ["latency", "macs", "priced", "shape"]

RUNS = 20


def shape(text: str) -> tuple[int, int, int]:
    """`3x32x32` as channels, height, width.

    Raises ValueError for other texts, and for images smaller than 8 x 8.
    """
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdecimal() for size in sizes) or "0" in sizes:
        raise ValueError(f"An input is channels x height x width, such as 3x32x32; got {text!r}.")
    channels, height, width = map(int, sizes)
    if min(height, width) < 8:
        raise ValueError(f"The networks take images of 8 x 8 pixels or more, not {height} x {width}.")
    return channels, height, width


def priced(images: tuple[int, int, int], measured: bool = False) -> list[dict[str, Any]]:
    """`models.describe()` with the MACs of one image and, if `measured`, its latency in milliseconds."""
    rows = []
    for row in describe():
        with torch.device("meta"):
            counted = macs(create(row["name"], in_channels=images[0]), images)
        more: dict[str, float] = {"MACs": counted}
        if measured:
            with torch.random.fork_rng(devices=[]):
                model = create(row["name"], in_channels=images[0])
            more["latency_ms"] = round(1e3 * latency(model, images), 2)
        rows.append({"name": row["name"], "parameters": row["parameters"], **more} | row)
    return rows


def macs(model: nn.Module, images: tuple[int, int, int]) -> int:
    """Multiply-accumulates of the convolutions and matrix products for one image `[C, H, W]`."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *images, device=device))
    return counter.get_total_flops() // 2


def latency(model: nn.Module, images: tuple[int, int, int]) -> float:
    """Seconds for one image on the processor, one thread, fp32: the median of 20 runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            x = torch.zeros(1, *images)
            model.eval()(x)
            return statistics.median(_timed(model, x) for _ in range(RUNS))
    finally:
        torch.set_num_threads(threads)


def _timed(model: nn.Module, x: torch.Tensor) -> float:
    began = time.perf_counter()
    model(x)
    return time.perf_counter() - began
