"""`evaluate`, `verify` and `report` on one short run."""

import json
import shutil

import pytest
from children import advdistill
from safetensors.torch import load_file, save_file
from test_cli import SHORT

from advdistill import Result, Run, data, models
from advdistill.models.checkpoint import provenance


@pytest.fixture(scope="module")
def made(tmp_path_factory, teacher):
    """A working directory with a teacher and a run evaluated under two attacks, whose images are saved."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(teacher, folder)
    train = ["train", "digits.rslad", *SHORT, "--epochs", 6, "--attack.steps", 1, "--teacher", "teacher.safetensors"]
    done = advdistill(*train, "--suite", "None", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    measure = ["evaluate", "run", "--suite", "clean,fgsm,transfer-cw-30", "--n", 120, "--batch-size", 50]
    done = advdistill(*measure, "--eps", "0.1", "--keep-images", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of `made` that a test may change."""
    return shutil.copytree(made, tmp_path / "place")


def test_a_transfer_takes_the_runs_own_teacher_and_images_are_kept(place):
    result = Result.load(place / "run" / "result.json")
    assert [m.attack for m in result.measurements] == ["clean", "fgsm", "transfer-cw-30"]
    assert "transferred from a model of weights" in result["transfer-cw-30"].settings
    kept = sorted(file.name for file in (place / "run" / "result.adv").iterdir())
    # one file per block; these small images form a single block, whatever the batch size
    assert kept == [f"{attack}.{i:06d}.safetensors" for attack in ("fgsm", "transfer-cw-30") for i in (0,)]
    assert not list((place / "run").glob("*unfinished*"))


def test_the_choice_says_among_how_many_and_on_what(place):
    held = data.load("digits", "train")
    recipe = Run(place / "run").recipe
    _, validation = held.holdout(recipe.data.validation, recipe.seed)
    known = provenance(place / "run")
    assert "held-out training images among 6 checkpoints, epoch" in known["chosen"]
    assert known["chosen_on"] == validation.fingerprint()


def test_a_checkpoint_chosen_on_the_test_split_is_flagged(place):
    test = data.load("digits", "test")
    said = {"chosen": "best of 9 epochs", "chosen_on": test.fingerprint()}
    models.save(models.load(place / "run"), place / "cheat.safetensors", said)
    measure = ["evaluate", "cheat.safetensors", "--data", "digits", "--suite", "clean", "--out", "c.json"]
    done = advdistill(*measure, cwd=place)
    assert done.returncode == 0, done.stderr
    chosen = str(Result.load(place / "c.json").chosen)
    assert chosen.startswith("chosen on the test split itself, so every figure is too high")


def test_a_sound_record_is_verified_and_a_false_one_is_not(place):
    done = advdistill("verify", "run", "--sample", 8, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    file = place / "run" / "result.adv" / "fgsm.000000.safetensors"
    whole = load_file(file)
    save_file(whole | {"x_adv": (whole["x_adv"] + 0.05).clamp(0, 1)}, file)
    try:
        done = advdistill("verify", "run", "--sample", 8, cwd=place)
        assert done.returncode == 1 and "eps" in done.stdout, done.stdout + done.stderr
    finally:
        save_file(whole, file)


def test_a_report_makes_what_is_missing(place):
    done = advdistill("report", "run", "--out", "pages/one.html", cwd=place)
    assert done.returncode == 0, done.stderr
    page = (place / "pages" / "one.html").read_text()
    assert page.startswith("<!doctype html>") and "fgsm" in page
    assert json.loads((place / "run" / "result.masking.json").read_text())["status"]
    assert (place / "run" / "result.inspection.safetensors").exists()
    done = advdistill("report", "run", "--out", "table.csv", cwd=place)
    assert done.returncode == 0 and (place / "table.csv").read_text().startswith("model,data,threat,seed,attack")
    done = advdistill("report", "run", "--out", "entry.json", cwd=place)
    clean = Result.load(place / "run" / "result.json")["clean"].accuracy
    assert json.loads((place / "entry.json").read_text())["clean_acc"] == f"{100 * clean:.2f}"


def test_other_settings_leave_everything_of_the_earlier_result_aside(place):
    for name in ("result.masking.json", "result.inspection.safetensors"):
        (place / "run" / name).write_text("of the earlier result")
    done = advdistill("evaluate", "run", "--suite", "clean", "--n", 40, cwd=place)
    assert done.returncode == 0, done.stderr
    aside = {file.name.split("-", 1)[1].split(".", 1)[1] for file in (place / "run").glob("result-*")}
    assert {"json", "verdicts.safetensors", "adv", "masking.json", "inspection.safetensors"} == aside


def test_images_need_a_place(place):
    done = advdistill("evaluate", "teacher.safetensors", "--data", "digits", "--keep-images", cwd=place)
    assert done.returncode == 2 and "--keep-images writes next to the result: give --out" in done.stderr
