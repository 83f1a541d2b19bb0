"""Tests that runs, results and checkpoints of earlier versions load; `files/before_0_2` has the formats of 0f91a63."""

import json
import shutil

import pytest
from children import advdistill
from conftest import ROOT
from safetensors.torch import load_file

from advdistill import Result, Run, models


@pytest.fixture
def place(tmp_path):
    """A teacher, a finished run with all files next to its result, and a run that stopped in its second epoch."""
    return shutil.copytree(ROOT / "tests" / "files" / "before_0_2", tmp_path / "place")


def command(*arguments, cwd):
    done = advdistill(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split()), done.stderr


def test_checkpoints_and_recipes_load(place):
    run = Run(place / "run")
    assert run.recipe.method.term.weight == 1 and run.recipe.ema == 0.9
    student = models.load(place / "run")
    assert all((student.state_dict()[name] == weight).all() for name, weight in load_file(run.best).items())


def test_a_result_is_read_and_more_attacks_join_it(place):
    file = place / "run" / "result.json"
    before = {m["attack"]: m["correct"] for m in json.loads(file.read_text())["measurements"]}
    assert {m.attack: m.correct for m in Result.load(file).measurements} == before
    command("evaluate", "run", "--suite", "cw-30", "--n", 60, "--eps", "0.1", cwd=place)
    after = {m.attack: m.correct for m in Result.load(file).measurements}
    assert list(after) == ["clean", "fgsm", "pgd-20", "cw-30"] and after | before == after
    assert not list(place.glob("run/result-*"))


def test_what_lies_beside_it_is_compared_reported_and_verified(place):
    assert "run/result.json" in command("compare", "run", "run/result.json", cwd=place)[0]
    command("report", "run", "--as-is", "--out", "page.html", cwd=place)
    page = (place / "page.html").read_text()
    assert "growing eps" in page and "held-out training images among 2 checkpoints" in page
    assert "Every counted verdict is confirmed." in command("verify", "run", "--sample", 4, cwd=place)[0]


def test_a_stopped_run_goes_on(place):
    (first,) = (place / "stopped" / "metrics.jsonl").read_text().splitlines()
    said = command("train", "recipe.yaml", "--out", "stopped", "--suite", "None", cwd=place)[1]
    assert "stopped: continuing at step 9 of 12." in said
    rows = (place / "stopped" / "metrics.jsonl").read_text().splitlines()
    assert rows[0] == first and json.loads(rows[1])["step"] == 12
    whole, continued = (load_file(place / name / "last.safetensors") for name in ("run", "stopped"))
    assert whole.keys() == continued.keys() and all(weight.isfinite().all() for weight in continued.values())
