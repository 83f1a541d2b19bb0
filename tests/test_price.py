"""What a network costs, counted by hand and measured."""

import json

import pytest
import torch
from torch import nn

from advdistill.cli import main
from advdistill.models.price import latency, macs, priced, shape


def test_multiplications_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    assert macs(model, (3, 8, 8)) == 3 * 4 * 9 * 64 + 4 * 64 * 10


def test_a_resnet18_takes_what_is_known_of_it():
    (row,) = [row for row in priced((3, 32, 32)) if row["name"] == "resnet18"]
    assert row["parameters"] == 11_173_962 and row["MACs"] == pytest.approx(556e6, rel=0.01)


def test_latency_is_a_time_and_leaves_the_threads_alone():
    before = torch.get_num_threads()
    assert 0 < latency(nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 8, 8)) < 1
    assert torch.get_num_threads() == before


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
