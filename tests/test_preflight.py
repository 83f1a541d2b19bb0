"""The check before a training: is the teacher what it should be, and how long will the training take?"""

import sys
from dataclasses import replace

import pytest
from PIL import Image
from training import short

from advdistill import Data, Linf, data, recipes
from advdistill.cli import main
from advdistill.models import teachers
from advdistill.preflight import Claim, _published_claim, preflight
from advdistill.preflight.estimate import Estimate, proposals
from advdistill.preflight.pictures import draw_augmented


def test_the_time_of_a_run_is_that_of_its_steps_and_validations():
    found = Estimate(step=0.5, steps=10, validation=1.0, epochs=4, memory=0)
    assert (found.epoch, found.total) == (6.0, 24.0)
    assert [found.within(budget) for budget in (5.9, 6, 23.9)] == [0, 1, 3]


def test_a_sound_teacher_passes_and_the_run_is_timed(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    found = preflight(short("adaad", teacher), claim=Claim(0.1, 0.0), accelerator="cpu", report=lines.append)
    assert found.refused == [] and found.cheaper == {}
    assert found.estimate.steps == 6 and found.estimate.epochs == 3
    assert found.estimate.step > 0 and found.estimate.validation > 0 and found.estimate.memory > 0
    assert lines[0].startswith("data: 192 images 1 x 8 x 8") and lines[1].startswith("robust teacher: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("changes", "seconds"), [
    ({}, 1), ({"statistics": "adversarial", "statistics_images": 64}, 1 + 2),
    ({"statistics": "mixed", "validate_every": 2}, (1 + 6) / 2),  # all six batches: they have fewer than 2,048 images
])  # fmt: skip
def test_the_statistics_of_batch_norm_are_among_the_seconds(teacher, monkeypatch, changes, seconds):
    """Everything timed takes one second: validation on the 48 held-out images, and each batch for the statistics."""

    def timed(work, device):
        work()
        return 1.0

    monkeypatch.setattr(sys.modules["advdistill.preflight.estimate"], "_time", timed)
    recipe = short("adaad", teacher).replace(**changes)
    found = preflight(recipe, accelerator="cpu", report=lambda line: None).estimate
    assert (found.step, found.steps, found.validation) == (1.0, 6, seconds)


def test_without_room_cheaper_runs_are_timed(teacher):
    found = preflight(short("adaad", teacher), budget=1e-3, accelerator="cpu", report=lambda line: None)
    assert list(found.cheaper) == ["--teacher-every 5", "--student convnet-2"]
    assert all(one.steps == 6 and one.step > 0 for one in found.cheaper.values())
    found = preflight(short("rslad", teacher), budget=1e-3, accelerator="cpu", report=lambda line: None)
    assert "--teacher-every 5" not in found.cheaper  # its attack runs no teacher at x'


def test_proposals_change_one_thing_and_go_downwards():
    recipe = recipes.load("cifar10.rslad_resnet18")
    typed = dict(proposals(recipe))
    assert list(typed) == ["--teacher-every 5", "--attack.steps 5", "--student resnet20"]
    assert typed["--attack.steps 5"] == recipe.replace(attack=typed["--attack.steps 5"].attack)
    few, three = (recipe.replace(attack=replace(recipe.attack, steps=steps)) for steps in (4, 3))
    assert "--attack.steps 3" in dict(proposals(few)) and not any("steps" in one for one in dict(proposals(three)))
    assert typed["--attack.steps 5"].attack.steps == 5 and typed["--student resnet20"].student == "resnet20"


def test_a_clean_model_that_is_claimed_robust_is_refused_with_the_figure(teacher):
    recipe = short("rslad", teacher)
    recipe = recipe.replace(attack=type(recipe.attack)(2, 0.25, Linf(0.5)))
    (said,) = preflight(recipe, claim=Claim(robust=0.6), accelerator="cpu", report=lambda line: None).refused
    assert "robust accuracy that is claimed, 60.0%, is out of reach" in said and "under PGD-10" in said


def test_a_robustbench_name_knows_its_own_figures():
    recipe = recipes.load("cifar10.rslad_resnet18")
    known = teachers.find("Chen2021LTD_WRN34_10")
    named = recipe.replace(teacher="robustbench:Chen2021LTD_WRN34_10?file=t.pt")
    assert _published_claim(named) == Claim(known.clean / 100, known.autoattack / 100)
    elsewhere = named.replace(attack=type(recipe.attack)(10, 2 / 255, Linf("4/255")))
    assert _published_claim(elsewhere) == Claim(known.clean / 100, None)  # its robust accuracy is at another eps
    assert _published_claim(recipe.replace(teacher="file:t.pt")) == Claim()


def test_from_the_command_line(teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["digits.rslad", "--teacher", teacher, "--accelerator", "cpu", "--price", "2"]
    assert main(["preflight", *given, "--budget", "30d"]) == 0
    said = capsys.readouterr().out
    assert "the run: " in said and " at 2 an hour" in said and "It fits into 30 days" in said
    assert main(["preflight", *given, "--claim-clean", "1.0"]) == 1
    assert main(["preflight", *given, "--claim-clean", "99"]) == 2
    assert "fraction such as 0.563, got 99" in capsys.readouterr().err
    assert main(["preflight", *given, "--budget", "soon"]) == 2
    assert "--budget must be a number and a unit, e.g. 90m, 4h or 2d; got 'soon'." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [{"augment": "idbh"}, {"augment": "shift", "mixup": 1.0}], ids=["images", "mixed"])
def test_a_sheet_of_augmented_images_is_drawn(tmp_path, changes):
    train = data.load("digits", "train").first(64)
    draw_augmented(short("pgd_at", data=Data("digits", **changes)), train, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 800 and sheet.height > 400 and len(sheet.convert("L").getcolors()) > 8
