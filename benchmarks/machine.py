"""Speed of this machine, and time and memory that a function uses."""

import ctypes
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], object]) -> float:
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def matmul_peak(dtype: torch.dtype) -> float:
    """Return the FLOP/s of the fastest of five products of square matrices."""
    side = 8192 if DEVICE.type == "cuda" else 2048
    a, b = torch.randn(2, side, side, device=DEVICE).to(dtype)
    times = [seconds(lambda: a @ b) for _ in range(6)]
    return 2 * side**3 / min(times[1:])


def flops(work: Callable[[], object]) -> int:
    """Count the floating-point operations of convolutions and matrix products, forward and backward."""
    with _Counted() as counted:
        work()
    return counted.total


class _Counted(TorchDispatchMode):
    """Counts with PyTorch's formulas. PyTorch's FlopCounterMode also follows modules, and stops at `autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        out = operator(*args, **(kwargs or {}))
        if formula := flop_registry.get(operator._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Memory:
    """Peak memory in MiB that was added since this object was created."""

    def __init__(self):
        gc.collect()
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # return freed memory, which new allocations would reuse unmeasured
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        self.before = _status("VmRSS")

    def peak(self) -> float:
        at_most = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else _status("VmHWM")
        return (at_most - self.before) / 2**20


def _status(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
