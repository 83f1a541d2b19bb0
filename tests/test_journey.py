"""A new user's path: each mistake gives one sentence that says what to type, and each step leads to the next."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from children import PATIENCE, Child, advdistill
from conftest import ENV
from training import same_weights, short

from advdistill import IGDM, L2, PGD, PGDAT, Linf, Result, Run, data, models, recipes
from advdistill import quickstart as example
from advdistill.attacks.suites import ATTACKS, SUITES, attacks
from advdistill.cli import main
from advdistill.cli import names as cli_names
from advdistill.cli.early import check_data, check_eps, seconds
from advdistill.evaluation import context
from advdistill.evaluation.verdicts import Verdicts
from advdistill.models.reference import KINDS
from advdistill.models.teachers import TEACHERS
from advdistill.optimizers import OPTIMIZERS, TorchOptimizer
from advdistill.results.files import ResultFiles
from advdistill.results.result import Measurement, hardest

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x):
        return self.f(self.c(x).relu().mean((2, 3)))

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90m", 5400), ("5min", 300), ("5 minutes", 300), ("4h", 14400), ("4 hours", 14400), ("1h30m", 5400),
     ("1 h 30 min", 5400), ("2d", 172800), ("45s", 45), ("0.5h", 1800), ("2 Days", 172800)],
)  # fmt: skip
def test_a_budget_is_understood_as_people_write_it(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["soon", "5", "5x", "0m", "m", "4h soon", "-5m", "1:30", ""])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValueError, match="--budget must be a number and a unit, e.g. 90m, 4h or 2d; got "):
        seconds(text)


def test_any_number_of_steps_is_an_attack():
    found = attacks("pgd-7, quick, pgd-100", Linf("8/255"))
    assert [one.name for one in found] == ["pgd-7", "clean", "fgsm", "pgd-20", "pgd-100"]
    assert [found[i].pgd.steps for i in (0, 3, 4)] == [7, 20, 100] and found[0].pgd.step_size == 2 / 255
    for wrong in ("pgd-0", "pgd-x", "pgd-10000", "pgd"):
        with pytest.raises(ValueError, match=f"Unknown suite or attack '{wrong}'.*pgd-N"):
            attacks(wrong, Linf("8/255"))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["trian", "digits.rslad"], "Unknown command 'trian'. Did you mean 'train'?"),
        (["evalute", "runs/x"], "Unknown command 'evalute'. Did you mean 'evaluate'?"),
        (["train", "flowers.yaml"], "There is no recipe file flowers.yaml. Write one first: advdistill init flowers"),
        (["train", "f.teacher.yaml"], "Write one first: advdistill init f,"),
        (["preflight", "flowers.yaml"], "There is no recipe file flowers.yaml. Write one first"),
        (["train", "--resume", "nowhere"], "There is no recipe file nowhere/recipe.yaml."),
        (["train", "digits.rslad", "--teacher", "runs/digits.teacher"],
         "The robust teacher runs/digits.teacher does not exist yet. Make it first: advdistill train digits.teacher"),
        (["preflight", "digits.rslad", "--teacher", "runs/digits.teacher"], "Make it first: advdistill train digits.t"),
        (["train", "digits.mtard", "--teacher", "file:t.pt", "--clean-teacher", "n.pt"],
         "The robust teacher t.pt does not exist yet. Train it first, or give --teacher another run or checkpoint."),
        (["evaluate", "runs/nowhere"], "No checkpoint at runs/nowhere"),
        (["compare"], "Nothing to compare. Name run folders"),
        (["train", "--suite", "pgd-x"], "Unknown suite or attack 'pgd-x'"),  # the default recipe, with options alone
        (["train", "digits.pgd_at", "--suite", "pgd-x"], "Unknown suite or attack 'pgd-x'"),
    ],
)  # fmt: skip
def test_a_mistake_names_what_to_type(tmp_path, typed, message):
    done = advdistill(*typed, cwd=tmp_path)
    assert done.returncode == 2 and message in done.sentence, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("train digits.pgd_at --schedule.kind cosin", "Unknown --schedule.kind 'cosin'. Did you mean 'cosine'? Kno"),
        ("train digits.pgd_at --attack.start=gausian", "Unknown --attack.start 'gausian'. Did you mean 'gaussian'?"),
        ("train --threat l3", "Unknown --threat 'l3'. Did you mean 'l2'? Known: l2, linf."),
        ("export x --to onx", "Unknown --to 'onx'. Did you mean 'onnx'?"),
        ("evaluate x --norm linff", "Unknown --norm 'linff'. Did you mean 'linf'? Known: l2, linf."),
        ("train digits.pgd_at --data.validation 1.5", "data.validation must lie between 0.001 and 0.5, got 1.5."),
        ("train digits.pgd_at --attack.threat.eps 8", "eps must lie in [0, 1], in units of pixels in [0, 1]; got 8"),
        ("train digits.pgd_at --epochs x", "--epochs must be a whole number, got 'x'."),
        ("train digits.pgd_at --optimizer.lr fast", "--optimizer.lr must be a number, got 'fast'."),
        ("train digits.pgd_at --ema x", "--ema must be a number or None, got 'x'."),
        ("evaluate x --n three", "--n must be a whole number or None, got 'three'."),
        ("train digits.pgd_at --lerning-rate 3", "Unrecognized options: --lerning-rate. See advdistill train digits"),
        ("train digits.pgd_at --epoch 3", "Unrecognized options: --epoch. Did you mean --epochs? See advdistill"),
        ("evaluate x --sute paper", "Unrecognized options: --sute. Did you mean --suite? See advdistill evaluate"),
        ("evaluate x --threat.eps 0.1", "Unrecognized options: --threat.eps. See advdistill evaluate --help."),
        ("evaluate a b", "Unexpected argument: b. See advdistill evaluate --help."),
        ("evaluate a b c", "Unexpected arguments: b, c. See advdistill evaluate --help."),
        ("train digits.pgd_at --teacher", "Missing value for argument '--teacher'. Expected 1 values. See advdistill"),
        ("evaluate", "advdistill evaluate needs an argument: A run folder, or a checkpoint; see `advdistill list m"),
        ("push x", "advdistill push needs --to: A folder to write, or hf:OWNER/NAME to upload to."),
    ],
)
def test_what_cannot_be_parsed_is_told_in_one_sentence(typed, message, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # so narrow that a box would break the sentence
    assert main(typed.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"advdistill: {message}") and said.err.count("\n") == 1, said.err


def test_names_are_known_without_torch():
    assert cli_names.recipes() == set(recipes.names()) and cli_names.models() == set(models.names())
    assert cli_names.suites() == {*SUITES, *ATTACKS}
    assert list(cli_names.DATASETS) == data.names() and set(cli_names.KINDS) == KINDS.keys()
    assert {(of, name) for of, names in cli_names.teachers().items() for name in names} == TEACHERS.keys()
    for name in cli_names.optimizers() - {*OPTIMIZERS, "lamb"}:
        assert issubclass(getattr(torch.optim, name), torch.optim.Optimizer)
    with pytest.raises(ValueError, match="^Unknown optimizer 'adamm'") as late:
        TorchOptimizer("adamm")
    with pytest.raises(ValueError) as early:
        cli_names.check_words(["--optimizer", "adamm"])
    assert str(early.value) == str(late.value)


TRIVIAL = """--version; trian; compare; compare x; report; report x; report x --out page.pdf; list method; status;
status x; evaluate x; evaluate .; evaluate x --suite nope; evaluate x --attacks pgd-0; evaluate runs/digits.teacher;
export x; export .; verify x; verify .; push x --to y; init ./x; init x.csv; train x.yaml; train x/y; train rslad;
train .; train --resume x; train --method rslda; train --method adaad+igmd; train --student=resnet81;
train --suite pgd-x; train --optimizer adamm; train --threat l3; preflight rslad; preflight --budget 5parsecs;
train --data.name cifar11; evaluate x --data cifar11; export x --data cifar11; init cifar11; train --teacher rb:X;
evaluate robustbench:Rice2020; push robustbench:cifar100/Linf/Nobody --to y; evaluate x --eps 8; export x --eps 8/256x;
evaluate x --eps 6 --norm l2; evaluate x --eps 2 --norm linf; train --attack.threat.eps 8; train broken.yaml;
train misspelt.yaml; preflight misspelt.yaml"""
ONE_AFTER_ANOTHER = """
import json, sys
from advdistill.cli import main
for line in sys.stdin.read().split(";"):
    try:
        code = main(line.split())
    except SystemExit as end:
        code = end.code
    print(json.dumps([line.split(), code, "torch" in sys.modules]), file=sys.__stdout__)
    if "torch" in sys.modules:
        break
"""


def test_trivial_mistakes_do_not_wait_for_torch(tmp_path):
    """So each takes a fraction of the two seconds of processor time that importing torch alone takes."""
    (tmp_path / "broken.yaml").write_text("epochs: [1\n")
    (tmp_path / "misspelt.yaml").write_text("data: {name: cifar11}\n")
    done = subprocess.run([sys.executable, "-c", ONE_AFTER_ANOTHER], input=TRIVIAL, cwd=tmp_path, env=ENV,
                          capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    wanted = [[line.split(), 0 if "--version" in line else 2, False] for line in TRIVIAL.split(";")]
    assert found == wanted and "Traceback" not in done.stderr, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"broken.yaml", "misspelt.yaml"}


@pytest.mark.parametrize(("early", "late"), [
    (lambda: check_data("cifar11"), lambda: data.load("cifar11", "test")),
    (lambda: cli_names.check_reference("robustbnch:X"), lambda: models.load("robustbnch:X")),
    (lambda: cli_names.check_reference("robustbench:Rice2020"), lambda: models.load("robustbench:Rice2020")),
    (lambda: check_eps("8"), lambda: Linf("8")), (lambda: check_eps("8", "l2"), lambda: L2("8")),
    (lambda: check_eps("1.5", "linf"), lambda: Linf("1.5")), (lambda: check_eps("x"), lambda: Linf("x")),
])  # fmt: skip
def test_what_is_told_early_is_what_is_told_late(early, late):
    with pytest.raises(ValueError) as first:
        early()
    with pytest.raises(ValueError) as second:
        late()
    assert str(first.value) == str(second.value)


def test_an_eps_that_a_norm_may_have_is_left_to_the_run():
    for eps, norm in ((None, None), ("4", None), ("5", "l2"), ("8/255", "linf")):
        check_eps(eps, norm)


def test_the_teacher_of_a_written_recipe_is_named_with_its_recipe(tmp_path, teacher):
    recipe = short("rslad", teacher).replace(teacher="runs/flowers.teacher")
    recipe.save(tmp_path / "flowers.yaml")
    recipe.save(tmp_path / "flowers.teacher.yaml")
    for command in ("train", "preflight"):
        done = advdistill(command, "flowers.yaml", cwd=tmp_path)
        make = "Make it first: advdistill train flowers.teacher.yaml --out runs/flowers.teacher"
        assert done.returncode == 2 and make in done.sentence, done.stderr
    recipe = recipe.replace(method=short("pgd_at", None).method)  # a method without a teacher needs none
    recipe.save(tmp_path / "flowers.yaml")
    assert advdistill("train", "flowers.yaml", "--suite", "None", cwd=tmp_path).returncode == 0
    assert Run(tmp_path / "runs" / "flowers").best.exists()


def test_a_teacher_is_not_loaded_by_a_method_without_one(tmp_path):
    flags = ["--teacher", "nowhere.pt", "--student", "convnet-2", "--epochs", 1, "--attack.steps", 1, "--suite", "None"]
    done = advdistill("train", "digits.rslad", "--method", "pgd_at", *flags, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_run_is_continued_by_its_recipe_its_folder_or_resume(tmp_path, teacher):
    recipe = short("rslad", teacher, epochs=12)
    recipe.save(tmp_path / "mine.yaml")
    assert advdistill("train", "mine.yaml", "--suite", "None", "--out", "whole", cwd=tmp_path).returncode == 0
    ways = (["runs/mine/recipe.yaml"], ["runs/mine"], ["--resume", "runs/mine"])
    for number, way in enumerate(ways):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        child = Child("train", "mine.yaml", "--suite", "None", cwd=tmp_path)
        metrics = tmp_path / "runs" / "mine" / "metrics.jsonl"
        child.until(lambda metrics=metrics: metrics.exists() and metrics.read_text())
        child.send(signal.SIGKILL)
        child.wait()
        done = advdistill("train", *way, "--suite", "None", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [one.name for one in (tmp_path / "runs").iterdir()] == ["mine"], number
        assert same_weights(tmp_path / "runs" / "mine" / "last.safetensors", tmp_path / "whole" / "last.safetensors")
    done = advdistill("train", "mine.yaml", "--resume", "runs/mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "--resume continues a run with its own recipe; leave out mine.yaml." in done.sentence


@pytest.mark.parametrize("name", ["Net", "Wrapped"])
def test_a_student_of_ones_own_is_trained_evaluated_and_named_with_its_file(tmp_path, name):
    (tmp_path / "mynet.py").write_text(OWN)
    flags = ["--student", f"python:mynet:{name}", "--epochs", 1, "--attack.steps", 1, "--suite", "clean"]
    done = advdistill("train", "digits.pgd_at", *flags, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = Result.load(tmp_path / "run" / "result.json")
    done = advdistill("evaluate", "run/best.safetensors", "--data", "digits", cwd=tmp_path)
    said = f"name it with the file: python:my_module:MyNet?checkpoint={'run/best.safetensors'}"
    assert done.returncode == 2 and said in done.sentence
    shared = ["--data", "digits", "--eps", "0.2", "--suite", "clean", "--out", "again.json"]
    done = advdistill("evaluate", f"python:mynet:{name}?checkpoint=run/best.safetensors", *shared, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = Result.load(tmp_path / "again.json")
    assert again.weights == first.weights and again["clean"].correct == first["clean"].correct


def test_a_wrong_file_for_a_class_of_ones_own(tmp_path, monkeypatch, teacher):
    (tmp_path / "othernet.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ValueError, match="does not fit python:othernet:Net: .*Missing"):
        models.load(f"python:othernet:Net?checkpoint={teacher}")
    sys.modules.pop("othernet", None)


def test_a_shared_folder_knows_its_data_and_threat(tmp_path):
    """A run at another eps than the default, on resized images: data and threat are known without a flag."""
    rng = np.random.default_rng(0)
    part = {"images": rng.integers(0, 255, (60, 12, 10, 1), dtype=np.uint8), "labels": np.arange(60) % 2}
    np.savez(tmp_path / "mine.npz", **part)
    flags = ["--data.name", "mine.npz", "--data.size", 8, "--student", "convnet-2", "--epochs", 1, "--attack.steps", 1]
    flags += ["--attack.threat.eps", "4/255", "--attack.step-size", "1/255", "--suite", "fgsm", "--batch-size", 16]
    done = advdistill("train", "digits.pgd_at", *flags, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert advdistill("push", "run", "--to", "shared", cwd=tmp_path).returncode == 0
    done = advdistill("evaluate", "hf:shared", "--suite", "fgsm", "--out", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, again = Result.load(tmp_path / "run" / "result.json"), Result.load(tmp_path / "r.json")
    assert again.threat == first.threat == "Linf 4/255" and again.fingerprint == first.fingerprint
    assert again["fgsm"].correct == first["fgsm"].correct


def test_autoattack_tells_its_progress_and_an_interrupt_loses_a_batch_at_most(tmp_path, teacher):
    pytest.importorskip("pyautoattack")
    typed = ["evaluate", teacher, "--data", "digits", "--eps", "0.1", "--suite", "autoattack", "--n", 6]
    typed += ["--batch-size", 2, "--out", "r.json"]

    def three_batches():
        context.LEAST, context.MOST, context.CPU = 2, 2, (2, 4 * 64)  # images per block, and pixels

    def interrupted_after_the_first():
        three_batches()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore SIGINT
        put = Verdicts.put

        def put_and_stop(self, attack, *arguments):
            put(self, attack, *arguments)
            if attack == "autoattack":
                os.kill(os.getpid(), signal.SIGINT)

        Verdicts.put = put_and_stop

    done = Child(*typed, cwd=tmp_path, before=interrupted_after_the_first).wait()
    assert done.returncode == 130 and done.stderr.count("autoattack, apgd-ce: ") == 1
    assert "per-image results so far are in r.unfinished.safetensors; the same command continues" in done.stderr
    again = Child(*typed, cwd=tmp_path, before=three_batches).wait()
    assert again.returncode == 0 and again.stderr.count("autoattack, apgd-ce: ") == 2


def test_the_quickstart_compares_on_the_same_images_and_is_not_repeated(tmp_path, monkeypatch):
    load, said, quick = recipes.load, [], PGD(1, 0.05, Linf(0.2))
    monkeypatch.setattr(recipes, "load", lambda name: load(name).replace(epochs=6, student="convnet-8", attack=quick))
    monkeypatch.setattr(example, "SUITE", "clean,fgsm")
    monkeypatch.setattr(example, "RADII", (0, 0.2))
    first = example.quickstart(tmp_path, said.append)
    assert [result.model for result in first] == [f"{n} (convnet-8)" for n in ("teacher", "pgd_at", "pgd_at_igdm")]
    assert Run(tmp_path / "pgd_at_igdm").recipe.method == PGDAT() + IGDM(0.5)
    files = [ResultFiles(Run(tmp_path / name).result) for name in ("pgd_at", "pgd_at_igdm")]
    for file, result in zip(files, first[1:], strict=True):
        assert file.measured_by_this_user(result) == {"clean", "fgsm"}  # the verdict on each image is saved
    assert (tmp_path / "curve.png").exists() and (tmp_path / "gallery.png").exists()
    times = [file.result.stat().st_mtime_ns for file in files]
    assert example.quickstart(tmp_path, said.append) == first
    assert [file.result.stat().st_mtime_ns for file in files] == times


def test_the_robust_accuracy_is_the_strongest_attacks_also_on_a_tie():
    def of(*figures):
        return [Measurement(name, "", 100, correct, 1.0) for name, correct in figures]

    assert hardest(of(("clean", 10))) is None
    assert hardest(of(("clean", 10), ("fgsm", 50), ("pgd-20", 40))).attack == "pgd-20"
    assert hardest(of(("autoattack", 0), ("fgsm", 0), ("pgd-20", 0))).attack == "autoattack"
    assert hardest(of(("fgsm", 0), ("pgd-20", 0), ("cw-30", 1))).attack == "pgd-20"
    assert hardest(of(("autoattack", 9), ("square-100", 8))).attack == "square-100"


def test_a_result_is_printed_as_a_table():
    measured = tuple(Measurement(*one, 1.0) for one in (("clean", "", 100, 80), ("fgsm", "", 100, 40),
                                                       ("autoattack", "", 100, 40)))  # fmt: skip
    result = Result("net", "digits/test", "b94169546686", "Linf 0.1", 0.1, 0, measured, "2026-01-02", {})
    assert str(result).splitlines() == [
        "net on digits/test (b94169546686), Linf 0.1, seed 0",
        "  clean        80.0 %  ( 71.1-86.7)  of 100 images",
        "  fgsm         40.0 %  ( 30.9-49.8)  of 100 images",
        "  autoattack   40.0 %  ( 30.9-49.8)  of 100 images",
        "Robust accuracy of net: 40.0 % under autoattack, the lowest of 2 attacks, as under fgsm.",
    ]


def test_help_of_train_shows_what_matters_on_a_page(tmp_path):
    shown = advdistill("train", "--help", cwd=tmp_path, env={"COLUMNS": "80"}).stdout
    assert len(shown.splitlines()) <= 40
    for option in ("--teacher", "--student", "--epochs", "--out", "--attack.threat.eps", "--resume", "RECIPE --help"):
        assert option in shown
