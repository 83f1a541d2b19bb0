import subprocess
import sys
from types import SimpleNamespace

import pytest
from children import PATIENCE
from conftest import ENV

from advdistill._internal import malloc
from advdistill.cli import evaluate, quickstart, train

FAULTS = """
import resource, torch
from advdistill._internal.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's, the C library of Linux that PyTorch runs on")
def test_pages_are_faulted_in_once():
    counted = subprocess.check_output([sys.executable, "-c", FAULTS], env=ENV, timeout=PATIENCE)
    given_back, kept = map(int, counted.split())
    assert kept < given_back / 10


def untouched(*given):
    raise AssertionError("this C library is not glibc")


def test_with_another_c_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=untouched))
    malloc.keep_freed_memory()
    monkeypatch.setattr(malloc.ctypes, "CDLL", untouched)
    monkeypatch.setattr(malloc.sys, "platform", "darwin")
    malloc.keep_freed_memory()


class Asked(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "run"),
    [
        (train, lambda: train.train(None, None)),
        (evaluate, evaluate.Evaluate(__file__, "quick")),
        (quickstart, quickstart.Quickstart()),
    ],
    ids=["train", "evaluate", "quickstart"],
)
def test_commands_that_compute_ask_for_it_first(module, run, monkeypatch):
    def asked():
        raise Asked

    monkeypatch.setattr(module, "keep_freed_memory", asked)
    with pytest.raises(Asked):
        run()
