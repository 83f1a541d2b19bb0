"""Tests of the command line: commands, their output, their files and their exit codes."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from children import PATIENCE, Child, advdistill, wait_until
from conftest import ADVDISTILL, ENV, ROOT
from training import same_weights, short

from advdistill import Result, Run, models

SHORT = ["--student", "convnet-4", "--epochs", "2", "--attack.steps", "2", "--attack.step-size", "0.1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, teacher):
    """A working directory with a teacher's checkpoint and a trained run."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(teacher, folder)
    done = advdistill("train", "digits.rslad", *SHORT, "--teacher", "teacher.safetensors", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "epoch   2/2" in done.stderr and "pgd-20" in done.stdout
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of `made` that a test may change."""
    return shutil.copytree(made, tmp_path / "place")


def test_training_ends_with_an_evaluated_student(place):
    result = Result.load(place / "run" / "result.json")
    assert [m.attack for m in result.measurements] == ["clean", "fgsm", "pgd-20"]
    assert result.data == "digits/test" and result.eps == 0.2 and all(m.n == 600 for m in result.measurements)
    assert "held-out training images" in str(result.chosen)
    assert result.command.startswith("advdistill train digits.rslad")


def test_the_same_command_again_changes_nothing(place):
    before = (place / "run" / "last.safetensors").read_bytes()
    again = advdistill("train", "digits.rslad", *SHORT, "--teacher", "teacher.safetensors", "--out", "run", cwd=place)
    assert again.returncode == 0 and (place / "run" / "last.safetensors").read_bytes() == before


def test_the_recipe_of_a_run_can_be_trained_again(place):
    done = advdistill("train", "run/recipe.yaml", "--out", "again", "--suite", "None", cwd=place)
    assert done.returncode == 0, done.stderr
    assert same_weights(place / "again" / "last.safetensors", place / "run" / "last.safetensors")


def test_masking_is_looked_for_and_written_beside_the_result(place):
    done = advdistill("evaluate", "run", "--suite", "clean", "--n", 60, "--masking", "--out", "m.json", cwd=place)
    assert done.returncode == 0, done.stderr
    verdict = json.loads((place / "m.masking.json").read_text())
    assert f"gradient masking: {verdict['status']}" in done.stdout and verdict["data"] == "digits/test"
    assert "randomness: two passes of the same images differ by 0" in " ".join(done.stdout.split())


def test_evaluate_and_compare(place):
    """More attacks are added to a result; if the settings differ, the earlier result is renamed."""
    done = advdistill("evaluate", "run", "--suite", "cw-30", cwd=place)
    assert done.returncode == 0, done.stderr
    measured = Result.load(place / "run" / "result.json").measurements
    assert [m.attack for m in measured] == ["clean", "fgsm", "pgd-20", "cw-30"]
    done = advdistill("evaluate", "run", "--suite", "paper", "--n", 100, "--eps", "0.1", cwd=place)
    assert done.returncode == 0 and "cw-30" in done.stdout and "n = 100" in " ".join(done.stdout.split())
    (kept,) = (place / "run").glob("result-*.json")
    assert Result.load(kept)["cw-30"].n == 600
    shown = advdistill("compare", "run", "run/result.json", cwd=place)
    assert shown.returncode == 0 and "run/result.json" in shown.stdout


def test_a_checkpoint_can_be_evaluated(place):
    flags = ["--data", "digits", "--suite", "clean", "--out", "t.json"]
    done = advdistill("evaluate", "teacher.safetensors", *flags, cwd=place)
    assert done.returncode == 0, done.stderr
    assert Result.load(place / "t.json")["clean"].n == 600


@pytest.mark.parametrize("what", ["methods", "models", "datasets", "recipes"])
def test_list(what, tmp_path):
    done = advdistill("list", what, "--json", cwd=tmp_path)
    names = [row["name"] for row in json.loads(done.stdout)]
    assert {"methods": "rslad", "models": "resnet18", "datasets": "cifar10", "recipes": "digits.rslad"}[what] in names
    assert names[0] in advdistill("list", what, cwd=tmp_path).stdout


def test_an_own_method_in_one_file(place):
    method = f"{ROOT}/examples/own_method.py:HardLabelRSLAD"
    done = advdistill(
        "train", "digits.rslad", "--method", method, "--method.label-weight", 0.3, *SHORT,
        "--teacher", "teacher.safetensors", "--out", "own", "--suite", "None", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0 and "label" in done.stderr, done.stderr
    assert Run(place / "own").recipe.method.label_weight == 0.3


def test_an_own_method_in_a_module(place):
    (place / "my_module.py").write_text((ROOT / "examples" / "own_method.py").read_text())
    done = advdistill("train", "digits.rslad", "--method", "my_module:HardLabelRSLAD", *SHORT,
                      "--teacher", "teacher.safetensors", "--out", "own2", "--suite", "None", cwd=place)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "my_module:HardLabelRSLAD" in (place / "own2" / "recipe.yaml").read_text()


def test_terms_and_threats_are_chosen_by_name(place):
    done = advdistill(
        "train", "digits.rslad", "--method", "adaad+igdm", "--method.term.weight", 3, "--threat", "l2",
        "--attack.threat.eps", 1, "--student", "convnet-4", "--epochs", 1, "--attack.steps", 1,
        "--teacher", "teacher.safetensors", "--out", "igdm", "--suite", "clean", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0 and "gradient" in done.stderr, done.stderr
    recipe = Run(place / "igdm").recipe
    assert recipe.method.term.weight == 3 and str(recipe.attack.threat) == "L2 1"


def fresh(*arguments, cwd):
    """Run the command in a new process; return how it ended and which packages it imported."""
    shown = [sys.executable, "-X", "importtime", *ADVDISTILL[1:], *arguments]
    done = subprocess.run(shown, cwd=cwd, env=ENV, capture_output=True, text=True, timeout=PATIENCE)
    return done, {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}


def test_help_does_not_wait_for_torch(tmp_path):
    done, imported = fresh("--help", cwd=tmp_path)
    assert done.returncode == 0 and "quickstart" in done.stdout
    assert "tyro" in imported and not imported & {"torch", "numpy", "lightning_fabric"}


def test_a_mistake_does_not_wait_for_lightning(tmp_path):
    done, imported = fresh("train", "digits.pgd_at", "--student", "resnet8-4", cwd=tmp_path)
    assert done.returncode == 2 and "'resnet8' takes at most 0; write 'resnet8'" in done.stderr
    assert "torch" in imported and not imported & {"lightning_fabric", "matplotlib", "altair", "onnx"}


def test_help_shows_the_fields(tmp_path):
    shown = advdistill("train", "digits.adaad_igdm", "--help", cwd=tmp_path).stdout
    assert "--method.base.adv-weight" in shown and "--attack.threat.eps" in shown


@pytest.mark.parametrize(("arguments", "message"), [
    (["train", "digits.rslda"], "Unknown recipe 'digits.rslda'. Did you mean 'digits.rslad'?"),
    (["train", "digits.rslad", "--method", "rslda"], "Unknown method 'rslda'. Did you mean 'rslad'?"),
    (["train", "digits.rslad"], "RSLAD needs a robust teacher"),
    (["train", "digits.pgd_at_igdm"], "IGDM needs a robust teacher"),
    (["train", "digits.rslad", "--teacher", "nowhere.pt"], "nowhere.pt"),
    (["train", "digits.pgd_at", "--student", "resnet81"], "Unknown model 'resnet81'. Did you mean 'resnet8'?"),
    (["train", "digits.pgd_at", "--data.name", "digts"], "Unknown dataset 'digts'. Did you mean 'digits'?"),
    (["train", "digits.pgd_at", "--attack.threat.eps", "8"], "eps must lie in [0, 1]"),
    (["train", "digits.pgd_at", "--attack.step-size", "0.3"], "Were the two swapped?"),
    (["train", "digits.pgd_at", "--suite", "everything"], "Unknown suite or attack 'everything'"),
    (["train", "digits.pgd_at", "--loggers", "wanb"], "Unknown logger 'wanb'. Did you mean 'wandb'?"),
    (["train", "digits.pgd_at", "--epoch", "3"], "--epoch"),
    (["evaluate", "nowhere"], "nowhere"),
    (["evaluate", "."], "."),
    (["compare", "nowhere"], "nowhere"),
    (["compare"], "Nothing to compare. Name run folders"),
    (["list", "method"], "method"),
    (["report"], "Nothing to report"),
    (["report", "nowhere"], "nowhere"),
    (["report", "nowhere", "--out", "page.pdf"], "or a RobustBench entry (.json), not '.pdf'"),
    (["report", "a", "b", "--out", "entry.json"], "A RobustBench entry is of one model, got 2"),
    (["verify", "nowhere.json"], "nowhere.json"),
    (["verify"], "result"),
])  # fmt: skip
def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path, arguments, message):
    done = advdistill(*arguments, cwd=tmp_path)
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and message in shown and "Traceback" not in shown, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_warning_of_ours_is_one_line(tmp_path):
    """In a fresh process: in the tests' own processes warnings are errors."""
    command = [*ADVDISTILL, "train", "digits.rslad", "--teacher", "zoo:convnet-2", "--out", "x"]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=PATIENCE)
    warning, error = done.stderr.strip().splitlines()[-2:]
    assert warning.startswith("advdistill: warning: zoo:convnet-2 has untrained weights; "), done.stderr
    assert error.startswith("advdistill: The robust teacher cannot take images of shape (1, 8, 8)")


def test_no_disk_space_is_a_sentence_and_loses_nothing(place):

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    big = [*SHORT, "--student", "convnet-16"]
    done = advdistill("train", "digits.pgd_at", *big, "--out", "full", cwd=place, before=small_disk)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "state.pt: File too large. An earlier file there is unchanged." in done.stderr
    assert not [f for f in (place / "full").iterdir() if f.name.startswith(".best") or f.name.startswith(".state")]


@pytest.mark.parametrize("method", ["rslad", "adaad+igdm"])
def test_a_run_killed_by_the_system_ends_the_same(tmp_path, teacher, method):
    """SIGKILL comes at moments that differ from run to run, some inside a write; the final weights must not differ."""
    recipe = short(method, teacher, epochs=8)
    recipe.save(tmp_path / "mine.yaml")
    command = ["train", "mine.yaml", "--suite", "None", "--out"]
    assert advdistill(*command, "whole", cwd=tmp_path).returncode == 0
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for rows, later in ((1, 0.0), (4, 0.03)):
        child = Child(*command, "killed", cwd=tmp_path)
        child.until(lambda rows=rows: metrics.exists() and len(metrics.read_text().splitlines()) >= rows)
        time.sleep(later)
        child.send(signal.SIGKILL)
        assert child.wait().returncode == -signal.SIGKILL
    assert advdistill(*command, "killed", cwd=tmp_path).returncode == 0
    for name in ("last.safetensors", "best.safetensors"):
        assert same_weights(tmp_path / "killed" / name, tmp_path / "whole" / name)
    assert models.load(tmp_path / "killed")


def test_sigterm_saves_and_says_how_to_go_on(tmp_path, teacher):
    recipe = short("rslad", teacher, epochs=500)
    recipe.save(tmp_path / "mine.yaml")
    command = [*ADVDISTILL, "train", "mine.yaml", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENV, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: process.poll() is not None or (tmp_path / "run" / "state.pt").exists())
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM and "run the same command to resume" in errors
