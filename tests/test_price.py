"""The cost of a network: operations counted by hand, and measured latency."""

import itertools
import json

import pytest
import torch
from torch import nn

from advdistill.cli import main
from advdistill.models.price import describe_with_cost, latency, macs, shape


def test_multiplications_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    assert macs(model, (3, 8, 8)) == 3 * 4 * 9 * 64 + 4 * 64 * 10


def test_a_resnet18_takes_what_is_known_of_it():
    (row,) = [row for row in describe_with_cost((3, 32, 32)) if row["name"] == "resnet18"]
    assert row["parameters"] == 11_173_962 and row["MACs"] == pytest.approx(556e6, rel=0.01)


def test_latency_is_the_median_in_milliseconds_and_leaves_the_threads_alone(monkeypatch):
    """The network advances the clock: by 0, 1, ... 9 s to warm up, then by 10, 11, ... 29 s."""
    clock, takes, threads = [0.0], itertools.count(), torch.get_num_threads()
    monkeypatch.setattr("advdistill.models.price.time.perf_counter", lambda: clock[0])

    class Slow(nn.Module):
        def forward(self, x):
            assert x.shape == (1, 1, 8, 8) and torch.get_num_threads() == 1
            clock[0] += next(takes)

    assert latency({"slow": Slow()}, torch.zeros(1, 1, 8, 8), rounds=20)["slow"]["p50"] == 19_500
    assert torch.get_num_threads() == threads


def test_from_the_command_line(capsys):
    assert main(["list", "models", "--input", "1x28x28", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["MACs"] > 0 for row in rows)
    for given, said in (("3x32", "such as 3x32x32; got '3x32'"), ("3x4x4", "8 x 8 pixels or more")):
        assert main(["list", "models", "--input", given]) == 2
        assert said in capsys.readouterr().err
    assert main(["list", "methods", "--latency"]) == 2
    assert "not for `list methods`" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "3x32xx", "axbxc", "0x32x32", "3x32x32x1"])
def test_other_inputs_are_refused(text):
    with pytest.raises(ValueError, match="channels x height x width"):
        shape(text)
