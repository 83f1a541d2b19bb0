"""Tests of `advdistill study`: the matrix of cells, the workers, and the arithmetic of the tables."""

import csv
import io
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from children import Child, advdistill, wait_until
from conftest import ROOT
from filelock import FileLock
from scipy import stats
from test_docs import blocks

from advdistill import Result, Run, data, distill, evaluate, models, recipes
from advdistill.cli import main
from advdistill.config import to_config
from advdistill.report.statistics import paired_t
from advdistill.results.metrics import read_metrics
from advdistill.results.weights import digest_of_file
from advdistill.study import Study
from advdistill.study.findings import findings
from advdistill.study.folder import StudyFolder
from advdistill.study.page import page
from advdistill.study.tables import captions
from advdistill.study.worker import _passes, work
from advdistill.threat import Linf

FIELDS = {"student": "convnet-2", "epochs": 1, "data.train_images": 60, "batch_size": 20, "attack.steps": 2}
SMALL = {
    "recipe": "digits.rslad",
    "fields": FIELDS | {"teacher": "teacher.safetensors", "statistics_images": 20},
    "axes": {"method": ["pgd_at", "trades", "rslad"], "statistics": ["training", "adversarial"], "seed": [0, 1]},
    "attacks": "clean,fgsm",
    "n": 100,
}


def written(folder: Path, **changes) -> Path:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def done(tmp_path_factory, teacher):
    """A folder with a study that two workers have run."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(teacher, folder / "teacher.safetensors")
    written(folder)
    ended = advdistill("study", "small.yaml", "--workers", "2", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def place(done, tmp_path):
    """A folder with the same study but no runs, which a test may change."""
    shutil.copy(done / "teacher.safetensors", tmp_path)
    written(tmp_path)
    return tmp_path


def figures(folder: Path) -> dict[str, list[int]]:
    return {
        file.parent.name: [m.correct for m in Result.load(file).measurements]
        for file in sorted((folder / "runs" / "small" / "results").glob("*/result.json"))
    }


def test_a_cell_is_an_ordinary_run(done):
    recipe = recipes.load(str(done / "runs" / "small" / "runs" / "rslad-adversarial-seed1"))
    plain = recipes.load("digits.rslad").replace(seed=1, statistics="adversarial", teacher="teacher.safetensors")
    assert recipe.method == plain.method and recipe.seed == 1 and recipe.statistics == "adversarial"
    recipe.save(done / "alone.yaml")
    alone = advdistill("train", "alone.yaml", "--out", "alone", "--suite", "None", cwd=done)
    assert alone.returncode == 0, alone.stderr
    weights = [digest_of_file(done / place / "best.safetensors")
               for place in ("alone", "runs/small/runs/rslad-adversarial-seed1")]  # fmt: skip
    assert weights[0] == weights[1] is not None


@pytest.mark.parametrize(("validate_every", "shared"), [(3, True), (2, False)])
def test_cells_that_differ_in_their_statistics_share_a_training(place, monkeypatch, validate_every, shared):
    monkeypatch.chdir(place)
    fields = SMALL["fields"] | {"epochs": 3, "validate_every": validate_every, "ema": 0.9, "ema_warmup": 0.1}
    axes = {"statistics": ["training", "mixed"], "seed": [0]}
    study = Study.load(written(place, fields=fields, axes=axes, attacks="clean"))
    folder = StudyFolder(Path("shared"), study)
    assert work(folder, print)
    trained, mixed = study.cells
    distill(mixed.recipe, "alone")
    assert digest_of_file(folder.run(mixed).best) == digest_of_file(Run("alone").best)
    assert digest_of_file(folder.run(mixed).best) != digest_of_file(folder.run(trained).best)
    log = (folder.folder / "logs" / f"{mixed.name}.log").read_text()
    assert ("continuing at step 6 of 9" in log) == shared
    rows = read_metrics(folder.run(mixed).metrics)
    assert [row["step"] for row in rows] == [3, 6, 9] and folder.cost(mixed)["steps"] == 9


def test_a_training_on_another_teacher_is_not_shared(place, monkeypatch):
    monkeypatch.chdir(place)
    axes = {"statistics": ["training", "clean"], "seed": [0]}
    study = Study.load(written(place, axes=axes, attacks="clean"))
    folder = StudyFolder(Path("shared"), study)
    first, second = study.cells
    assert work(folder, print, [first])
    other = models.load(str(place / "teacher.safetensors"))
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    models.save(other, place / "teacher.safetensors")
    assert work(folder, print, [second])
    distill(second.recipe, "alone")
    assert digest_of_file(folder.run(second).best) == digest_of_file(Run("alone").best)


def test_the_tables_are_the_arithmetic_of_the_results(done, monkeypatch):
    monkeypatch.chdir(done)
    study = Study.load("small.yaml")
    found = findings(StudyFolder(Path("runs/small"), study))
    robust = {name: counts[1] / 100 for name, counts in figures(done).items()}
    assert (found.done, found.total, found.robust) == (12, 12, "fgsm")
    for group in found.groups:
        pair = [robust["-".join([*group.levels.values(), f"seed{seed}"])] for seed in (0, 1)]
        assert group.figure("fgsm") == pytest.approx((np.mean(pair), np.std(pair, ddof=1)))
    effect = next(e for e in found.effects if (e.level, e.within) == ("adversarial", ""))
    differences = [robust[f"{m}-adversarial-seed{s}"] - robust[f"{m}-training-seed{s}"]
                   for s in (0, 1) for m in ("pgd_at", "trades", "rslad")]  # fmt: skip
    assert effect.robust.value == pytest.approx(np.mean(differences)) and effect.robust.n == 6
    inside = [e for e in found.effects if e.within]
    assert [(e.axis, e.level, e.within) for e in inside] == [
        ("statistics", "adversarial", method) for method in ("pgd_at", "trades", "rslad")
    ]
    rows = list(csv.DictReader(io.StringIO((done / "runs/small/study.csv").read_text())))
    assert len(rows) == 24 and {row["seed"] for row in rows} == {"0", "1"}
    assert sum(int(row["correct"]) for row in rows if row["attack"] == "fgsm") == round(100 * sum(robust.values()))
    assert (done / "runs/small/study.tex").read_text().startswith("% \\usepackage{booktabs}\n")
    steps = {row["method"]: (int(row["steps"]), int(row["image_passes"])) for row in rows}
    assert steps == {"pgd_at": (3, 180), "trades": (3, 300), "rslad": (3, 300)}  # 3 batches of 20; k + 1, k + 3 passes


def test_a_recipe_is_chosen_on_the_images_that_each_run_held_out(done, tmp_path):
    place = shutil.copytree(done, tmp_path / "copy")
    study = place / "runs/small"
    trained = {file: file.read_text() for file in study.glob("runs/*/metrics.jsonl")}
    before = figures(place)
    cells = [f"{method}-adversarial-seed{seed}" for method in ("pgd_at", "trades") for seed in (0, 1)]
    ended = advdistill("study", "small.yaml", "--held-out", "--cells", *cells, cwd=place)
    assert ended.returncode == 0, ended.stderr
    assert figures(place) == before and trained == {file: file.read_text() for file in trained}  # none trained anew
    for seed in (0, 1):
        run = Run(study / f"runs/trades-adversarial-seed{seed}")
        held_out = data.load("digits", "train").holdout(run.recipe.data.validation, seed)[1]
        wanted = evaluate(models.load(run.student_reference), held_out, run.recipe.attack.threat, "clean,fgsm")
        found = Result.load(study / f"held_out/trades-adversarial-seed{seed}/result.json")
        assert found.fingerprint == held_out.fingerprint() and found["clean"].n == len(held_out) != SMALL["n"]
        assert [m.correct for m in found.measurements] == [m.correct for m in wanted.measurements]
    text = (study / "held_out.md").read_text()
    assert text.startswith("# Study small, held-out images") and "4 of 12 cells" in text
    assert "chosen among several" not in text
    assert "not comparable" not in text and "do not compare" not in text
    assert "on held-out" not in (study / "study.md").read_text()


def test_attacks_search_on_a_fast_copy_if_the_study_is_accelerated(place, monkeypatch):
    monkeypatch.chdir(place)
    for accelerated in (True, False):
        study = Study.load(written(place, axes={"method": ["pgd_at"]}, accelerated=accelerated, attacks="clean,pgd-2"))
        folder = StudyFolder(Path(f"accelerated_{accelerated}"), study)
        assert work(folder, print)
        (cell,) = study.cells
        test, threat = data.load("digits", "test"), cell.recipe.attack.threat
        student = models.load(folder.run(cell).student_reference)
        wanted = evaluate(student, test, threat, study.attacks, n=100, accelerated=accelerated)
        found = Result.load(folder.results(cell) / "result.json")
        assert [(m.settings, m.correct) for m in found.measurements] == [
            (m.settings, m.correct) for m in wanted.measurements
        ]
        assert ("searched in" in found["pgd-2"].settings) == accelerated
        assert f"Attacks: {found['pgd-2'].settings}." in captions(findings(folder))


def test_figures_on_images_that_chose_the_checkpoint_are_said_to_be_too_high(place):
    written(place, fields=SMALL["fields"] | {"epochs": 2}, axes={"method": ["pgd_at", "trades"], "seed": [0]})
    ended = advdistill("study", "small.yaml", "--held-out", cwd=place)
    assert ended.returncode == 0, ended.stderr
    text = " ".join((place / "runs/small/held_out.md").read_text().split())
    assert "In 2 of 2 cells the checkpoint was chosen among several on these images" in text
    assert "Set validate\\_every to at least epochs." in text


def test_the_passes_of_a_run_follow_its_schedules():
    recipe = recipes.load("digits.rslad").replace(epochs=4, attack_steps_schedule=(2, 4), awp=0.005, awp_begin=3)
    # 10 steps an epoch; RSLAD's step: the attack's passes, two for the losses, two more under weight perturbation
    assert _passes(recipe, [10, 20, 30, 40]) == {"robust": 40, "student": 10 * (4 + 4 + 6 + 6 + 2)}


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_our_own_studies_are_understood(file):
    assert Study.load(file).cells


def test_teachers_that_a_run_does_not_have_cost_nothing():
    recipe = recipes.load("digits.mtf_ard").replace(teacher="a", clean_teacher="b")  # MTF-ARD may have two more
    assert _passes(recipe, [10]) == {"student": 110, "robust": 10, "clean": 10}


def test_a_teacher_that_the_attack_seldom_runs_costs_less():
    recipe = recipes.load("fashion_mnist.adaad").replace(teacher="a")  # runs the teacher at 2 of 10 attack steps
    assert _passes(recipe, [10]) == {"student": 110, "robust": 30}
    assert _passes(recipe.replace(teacher_every=None), [10]) == {"student": 110, "robust": 110}


def test_a_t_test_over_pairs_is_scipys():
    differences = [0.02, -0.01, 0.04, 0.03]
    found, wanted = paired_t(differences), stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(wanted.pvalue)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.95)))
    assert paired_t([0.01, 0.01, 0.01]).verdict == "not distinguishable"  # the spread is unknown


def test_three_workers_killed_ten_times_end_with_the_same_table(done, place):
    def worker():
        return Child("study", "small.yaml", cwd=place)

    files, workers = place / "runs" / "small", [worker() for _ in range(3)]
    for kill in range(10):
        wait_until(partial(lambda at_least: len(list(files.rglob("*.*"))) > at_least, 20 * kill))
        os.kill(workers[kill % 3].pid, signal.SIGKILL)
        workers[kill % 3].wait()
        workers[kill % 3] = worker()
    for ended in (one.wait() for one in workers):
        assert ended.returncode == 0, ended.stderr
    assert figures(place) == figures(done)
    tables = [(folder / "runs/small/study.csv").read_text() for folder in (done, place)]
    without_seconds = [[row | {"seconds": ""} for row in csv.DictReader(io.StringIO(text))] for text in tables]
    assert without_seconds[0] == without_seconds[1]


def test_workers_end_with_the_command_that_started_them(place):
    child = Child("study", "small.yaml", "--workers", "2", cwd=place)
    logs = place / "runs" / "small" / "logs"
    child.until(lambda: logs.exists() and len(list(logs.iterdir())) > 1)  # both have begun
    child.send(signal.SIGTERM)
    ended = child.wait()
    assert ended.returncode == 128 + signal.SIGTERM and "the same command continues" in ended.stderr
    for file in (place / "runs" / "small" / "locks").iterdir():
        FileLock(file).acquire(timeout=0)


def test_one_combination_alone_is_compared_with_nothing(place):
    written(place, axes={"seed": [0, 1]}, recipe="digits.pgd_at", fields=FIELDS)
    ended = advdistill("study", "small.yaml", cwd=place)
    assert ended.returncode == 0 and "2 of 2 cells" in " ".join(ended.stdout.split()), ended.stderr
    assert "Baseline" not in ended.stdout + (place / "runs/small/study.md").read_text()


def test_results_alone_go_on_on_another_machine(done, place):
    shutil.copytree(done / "runs/small/results", place / "runs/small/results")
    gone = place / "runs/small/results/trades-training-seed1"
    shutil.rmtree(gone)
    listed = advdistill("study", "small.yaml", "--print", cwd=place)
    assert listed.stdout.split() == (
        "advdistill study small.yaml --out runs/small --cells trades-training-seed1".split()
    )
    held_out = advdistill("study", "small.yaml", "--held-out", "--print", cwd=place).stdout.splitlines()
    assert len(held_out) == 12 and "--out runs/small --held-out --cells trades-training-seed1" in held_out[8]
    again = advdistill(*listed.stdout.split()[1:], cwd=place)
    assert again.returncode == 0 and sorted(p.name for p in (place / "runs/small/runs").iterdir()) == [gone.name]
    assert figures(place) == figures(done)


def test_a_cell_that_fails_is_said_and_stops_no_other(place):
    study = SMALL["axes"] | {"method": ["rslad"], "student": ["convnet-2", "python:nowhere:Net"]}
    written(place, axes=study | {"statistics": ["training"], "seed": [0]})
    ended = advdistill("study", "small.yaml", cwd=place)
    assert ended.returncode == 1
    assert "convnet-2-" in "".join(p.name for p in (place / "runs/small/results").iterdir()) + "convnet-2-"
    assert "FAILED" in ended.stderr and "nowhere" in ended.stderr
    assert "1 of 2 cells" in " ".join((place / "runs/small/study.md").read_text().split())
    assert "failed" in (place / "runs/small/study.md").read_text()


def test_other_teachers_under_one_name_are_said(done, place):
    shutil.copytree(done / "runs/small/results", place / "runs/small/results")
    file = place / "runs/small/results/rslad-training-seed0/cost.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"teachers": {"robust": "0" * 16}}))
    said = advdistill("study", "small.yaml", "--tables", cwd=place)
    assert "different robust teachers under the one name teacher.safetensors" in " ".join(said.stdout.split())


@pytest.mark.parametrize("text", ["{broken", "[1]", "{}", '{"seconds": "much"}'])
def test_a_damaged_cost_is_named(done, place, text):
    shutil.copytree(done / "runs/small/results", place / "runs/small/results")
    (place / "runs/small/results/rslad-training-seed0/cost.json").write_text(text)
    said = advdistill("study", "small.yaml", "--tables", cwd=place)
    assert said.returncode == 2 and "rslad-training-seed0/cost.json is damaged. Delete it" in said.sentence


def test_a_changed_study_does_not_take_old_results_for_its_own(done, place):
    shutil.copytree(done / "runs/small/results", place / "runs/small/results")
    written(place, fields=SMALL["fields"] | {"epochs": 2})
    said = advdistill("study", "small.yaml", cwd=place)
    assert said.returncode == 2 and "was made with another recipe (epochs: 1 in the folder, 2 in" in said.sentence


def test_a_teacher_free_arm_is_missed(place, monkeypatch):
    monkeypatch.chdir(place)
    axes = {"method": ["trades", "rslad"], "ema": [None, 0.9], "seed": [0]}
    (said,) = Study.load(written(place, axes=axes)).missing_baselines()
    assert said == "No PGDAT cells, so nothing here shows what a teacher adds over PGDAT."
    assert Study.load(written(place)).missing_baselines() == []
    arms = {name: {"recipe": f"digits.{name}", "epochs": epochs} for name, epochs in (("pgd_at", 3), ("rslad", 2))}
    (said,) = Study.load(written(place, recipe=None, axes={"arm": arms, "ema": [None, 0.9]})).missing_baselines()
    # it has PGD-AT, in an axis of other fields
    assert said == "No TRADES cells, so nothing here shows what a teacher adds over TRADES."


def test_levels_may_set_several_fields(place, monkeypatch):
    monkeypatch.chdir(place)
    axes = {
        "method": ["pgd_at", {"rslad": {}, "igdm": {"weight": 5}}],
        "averaging": {"none": {}, "ema": {"ema": 0.9, "statistics": "mixed"}},
        "optimizer.lr": [0.1, 0.2],
    }
    cells = Study.load(written(place, axes=axes)).cells
    last = cells[-1]
    assert last.name == "rslad+igdm_weight=5-ema-optimizer.lr0.2" and len(cells) == 8
    assert last.recipe.ema == 0.9 and last.recipe.statistics == "mixed" and last.recipe.optimizer.lr == 0.2
    assert to_config(last.recipe.method)["igdm"]["weight"] == 5 and last.recipe.teacher == "teacher.safetensors"
    assert cells[0].recipe.teacher is None  # PGD-AT has no teacher


def test_fields_are_named_as_on_the_command_line(place, monkeypatch):
    monkeypatch.chdir(place)
    fields = {"teacher": "teacher.safetensors", "attack.threat.eps": "1/10", "attack.step_size": 0.02}
    cell = Study.load(written(place, fields=fields)).cells[0]
    assert cell.recipe.attack.threat == Linf(0.1) and cell.recipe.attack.step_size == 0.02
    with pytest.raises(ValueError, match=r"attack\.threat\.epsilon"):
        Study.load(written(place, fields=fields | {"attack.threat.epsilon": 0.1}))


@pytest.mark.parametrize(("changes", "said"), [
    ({"axes": {"attack.threat": [{"linf": 0.1}, {"linf": 0.2}]}}, "cells with different threat models.* two studies"),
    ({"axes": {"data.size": [None, 8]}}, "cells with different test data"),
    ({"axes": {"epoch": [1, 2]}}, "Unknown field of .*small.yaml, cell epoch1 'epoch'. Did you mean 'epochs'"),
    ({"axes": {"epochs": [1, 1]}}, "epochs has 1 twice"),
    ({"axes": {"epochs": []}}, "must be a list of values, or names of levels"),
    ({"axes": {"method": ["rslad", "rslda"]}}, "Did you mean 'rslad'"),
    ({"axes": {"a": {"x": {}, "y": {}}}}, "Cells x and y of .* have the same recipe"),
    ({"axes": {"a": {"x/1": {"epochs": 1}, "x:1": {"epochs": 2}}}}, "Two cells of .* are called x_1"),
    ({"axes": {"student": ["convnet-2", "resnet9000"]}}, "resnet9000"),
    ({"fields": FIELDS}, "RSLAD needs a robust teacher; add 'teacher: REFERENCE'"),
    ({"attacks": "pgd-7x"}, "pgd-7x"),
    ({"n": "many"}, "n must be a whole number of at least 1, got 'many'"),
    ({"accelerated": "yes"}, "accelerated must be true or false, got 'yes'"),
    ({"n": True}, "n must be a whole number of at least 1, got True"),
    ({"n": -5}, "n must be a whole number of at least 1, got -5"),
    ({"baseline": {"method": "ard"}}, "Unknown level of method 'ard'"),
    ({"baseline": {"methods": "ard"}}, "Unknown axis of .* 'methods'. Did you mean 'method'"),
    ({"recipe": None}, "names no recipe"),
    ({"seeds": [1]}, "Unknown field of .*small.yaml 'seeds'"),
    ({"axes": None}, "must hold axes such as"),
])  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(place, monkeypatch, changes, said):
    monkeypatch.chdir(place)
    with pytest.raises(ValueError, match=said):
        Study.load(written(place, **changes))


def test_the_documents_study_can_be_read(tmp_path):
    (text,) = blocks(ROOT / "docs" / "study.md", "yaml")
    (tmp_path / "study.yaml").write_text(text)
    study = Study.load(tmp_path / "study.yaml")
    assert len(study.cells) == 48 and study.robust == "autoattack" and study.missing_baselines() == []


def test_missing_packages_are_named_before_anything_is_trained(place, without, monkeypatch, capsys):
    monkeypatch.chdir(place)
    without("altair")
    assert main(["study", "small.yaml"]) == 2
    said = 'A study needs the package altair; install it with: pip install "advdistill[study]"'
    assert said in capsys.readouterr().err
    assert not Path("runs").exists()


def test_the_page_of_a_study_needs_no_pictures(done, without):
    without("PIL")
    assert "<table" in page(findings(StudyFolder(done / "runs" / "small", Study.load(done / "small.yaml"))))


def test_mistakes_on_the_command_line(place):
    for arguments, said in (
        (["none.yaml"], "There is no study file none.yaml"),
        (["small.yaml", "--workers", "0"], "--workers must be at least 1, got 0"),
        (["small.yaml", "--cells", "rslad"], "Unknown cell of small.yaml 'rslad'"),
        (["small.yaml", "--slurm", "cluster"], "--slurm takes NAME=VALUE"),
        (["small.yaml", "--slurm", "cluster=moon"], "--slurm: AutoExecutor doesn't know any executor named moon"),
    ):
        ended = advdistill("study", *arguments, cwd=place)
        assert ended.returncode == 2 and said in ended.sentence, ended.stderr


def test_workers_are_submitted_by_submitit(done, place):
    shutil.copytree(done / "runs/small/results", place / "runs/small/results")
    shutil.rmtree(place / "runs/small/results/pgd_at-training-seed0")
    ended = advdistill("study", "small.yaml", "--slurm", "cluster=local", "timeout_min=10", cwd=place)
    assert ended.returncode == 1 and "submitted " in ended.stderr, ended.stderr
    wait_until((place / "runs/small/results/pgd_at-training-seed0/cost.json").exists)
    assert figures(place) == figures(done)
    assert Run(place / "runs/small/runs/pgd_at-training-seed0").last.exists()
