"""The cost of running a network: multiply-accumulates, and latency on this machine."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .zoo import create, describe

__all__ = ["describe_with_cost", "latency", "macs", "shape"]

PERCENTILES = (50, 90, 99)
WARM_UP, ROUNDS = 10, 200
LISTED_ROUNDS = 20  # for a table of all networks


def shape(text: str) -> tuple[int, int, int]:
    """Parse text such as `3x32x32` to channels, height and width.

    Raises ValueError if the text has another form, or the image is smaller than 8 x 8.
    """
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdecimal() for size in sizes) or "0" in sizes:
        raise ValueError(f"An input is channels x height x width, such as 3x32x32; got {text!r}.")
    channels, height, width = map(int, sizes)
    if min(height, width) < 8:
        raise ValueError(f"The networks take images of 8 x 8 pixels or more, not {height} x {width}.")
    return channels, height, width


def describe_with_cost(images: tuple[int, int, int], measured: bool = False) -> list[dict[str, Any]]:
    """Return `models.describe()` with the MACs for one image and, if `measured`, the latency in milliseconds."""
    rows = []
    for row in describe():
        with torch.device("meta"):
            counted = macs(create(row["name"], in_channels=images[0]), images)
        more: dict[str, float] = {"MACs": counted}
        if measured:
            with torch.random.fork_rng(devices=[]):
                model = create(row["name"], in_channels=images[0]).eval()
            more["latency_ms"] = round(latency({"it": model}, torch.zeros(1, *images), LISTED_ROUNDS)["it"]["p50"], 2)
        rows.append({"name": row["name"], "parameters": row["parameters"], **more} | row)
    return rows


def macs(model: nn.Module, images: tuple[int, int, int]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image `[C, H, W]`."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *images, device=device))
    return counter.get_total_flops() // 2


@torch.no_grad()
def latency(networks: Mapping[str, nn.Module], image: Tensor, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Measure milliseconds by network and percentile (p50, p90, p99), for one image `[1, C, H, W]` on one thread.

    The networks run in turn, so that other load on the machine slows all of them.
    """
    threads = torch.get_num_threads()
    times: dict[str, list[float]] = {name: [] for name in networks}
    torch.set_num_threads(1)
    try:
        for _ in range(WARM_UP + rounds):
            for name, network in networks.items():
                began = time.perf_counter()
                network(image)
                times[name].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return {name: _percentiles(seconds[WARM_UP:]) for name, seconds in times.items()}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    values = 1e3 * np.percentile(seconds, PERCENTILES)
    return {f"p{which}": round(value, 3) for which, value in zip(PERCENTILES, values.tolist(), strict=True)}
