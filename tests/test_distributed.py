"""Several real processes, over gloo."""

import json
import subprocess
import sys

import pytest
from conftest import ENV, ROOT
from safetensors.torch import load_file
from torch.testing import assert_close


def run(folder, method, processes):
    command = [sys.executable, str(ROOT / "tests" / "in_processes.py"), str(folder), method, str(processes)]
    done = subprocess.run(command, env=ENV, cwd=folder.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    losses = [
        {name: value for name, value in json.loads(line).items() if name.startswith("loss/")}
        for line in (folder / "metrics.jsonl").open()
    ]
    return load_file(folder / "last.safetensors"), losses


@pytest.mark.parametrize("method", ["rslad", "adaad+igdm", "bmtard"])
def test_two_processes_follow_the_path_of_one(tmp_path, method):
    # 192 images in batches of 30: the last one, of 12, is divided as well
    one, losses = run(tmp_path / "one", method, 1)
    two, same_losses = run(tmp_path / "two", method, 2)
    for key in one:
        assert_close(one[key], two[key], rtol=1e-4, atol=1e-5)
    for row, same_row in zip(losses, same_losses, strict=True):
        assert row == pytest.approx(same_row, rel=1e-4)
