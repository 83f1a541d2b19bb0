"""How long one image takes."""

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["PERCENTILES", "latency"]

PERCENTILES = (50, 90, 99)
WARM_UP, ROUNDS = 10, 200


@torch.no_grad()
def latency(networks: Mapping[str, nn.Module], image: Tensor, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Milliseconds by network and percentile, for one image `[1, C, H, W]` on one thread.

    The networks take turns, so that whatever else the machine does slows all of them.
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
