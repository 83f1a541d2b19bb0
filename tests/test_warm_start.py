"""Tests of `student_init`, with which a student begins with the weights of another network."""

import json
import re
from pathlib import Path

import pytest
import torch
from children import advdistill
from conftest import Tiny
from safetensors.torch import load_file
from training import died_before, differences, quick, quick_data, short, state_of

from advdistill import Data, Recipe, Run, distill, models
from advdistill.models import save
from advdistill.results.selection import Selection
from advdistill.train.setup import Placement, assemble
from advdistill.train.warm_start import warm_start

X = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def written(folder: Path, classes: int, name: str = "convnet-2", **normalisation) -> str:
    """Save a network with its own weights and running statistics; return the checkpoint's path."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(classes)
        network = models.create(name, classes, 1, **normalisation)
        network(torch.rand(8, 1, 8, 8))  # in train mode
    path = folder / f"{name}.{classes}.safetensors"
    save(network, path)
    return str(path)


def recipe_from(reference: str, **changes) -> Recipe:
    return short("pgd_at", student="convnet-2", student_init=reference, data=Data("random"), batch_size=24, **changes)


def test_weights_and_statistics_are_those_of_the_other_network(tmp_path):
    path = written(tmp_path, 4)
    parts = assemble(recipe_from(path), placement=Placement("cpu"), train=quick_data())
    assert differences(parts.student.state_dict(), models.load(path).state_dict()) == []
    assert str(parts.warm_start).startswith(f"the weights of {path} (") and "head" not in str(parts.warm_start)


def test_with_other_classes_the_head_is_a_new_one(tmp_path):
    path = written(tmp_path, 7)
    parts = assemble(recipe_from(path), placement=Placement("cpu"), train=quick_data())
    plain = assemble(recipe_from(path).replace(student_init=None), placement=Placement("cpu"), train=quick_data())
    ours, theirs, drawn = (n.state_dict() for n in (parts.student, models.load(path), plain.student))
    head = [name for name in ours if ours[name].shape != theirs[name].shape]
    assert {ours[name].shape[0] for name in head} == {4} and {theirs[name].shape[0] for name in head} == {7}
    assert all(torch.equal(ours[name], (drawn if name in head else theirs)[name]) for name in ours)
    assert str(parts.warm_start).endswith("with a new head in place of that of 7 classes")


def test_a_student_of_the_zoo_gets_the_normalisation_that_the_weights_had(tmp_path):
    path = written(tmp_path, 4, mean=(0.3,), std=(0.5,))
    student, _ = warm_start(models.create("convnet-2", 4, 1), path, X)
    assert student.spec == models.load(path).spec
    assert torch.equal(student.eval()(X), models.load(path).eval()(X))


def test_names_may_have_another_prefix():
    source = f"python:{Path(__file__).with_name('conftest.py')}:Tiny"
    torch.manual_seed(3)
    student, _ = warm_start(Tiny(), f"{source}?mean=0&std=1", X)
    torch.manual_seed(3)
    Tiny()  # uses up the random numbers of the student
    assert differences(student.state_dict(), Tiny().state_dict()) == []
    with pytest.raises(ValueError, match="normalises its images by mean .0.5,., std .0.25,., the student by nothing. "):
        warm_start(Tiny(), f"{source}?mean=0.5&std=0.25", X)


def test_another_architecture_is_refused_in_a_sentence(tmp_path):
    path = written(tmp_path, 4, "convnet-4")
    said = rf"^The student is convnet-2, and student_init {re.escape(path)} is convnet-4: \S+ is \[2, 1, 3, 3\] in "
    said += r"the first and \[4, 1, 3, 3\] in the second; .* and \d+ more. Give --student that architecture, or a "
    with pytest.raises(ValueError, match=said):
        distill(recipe_from(path), tmp_path / "run", train=quick_data(), accelerator="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"is \[8, 16\] in the first and missing in the second;"):
        warm_start(Tiny(), written(tmp_path, 4), X)


def test_a_run_says_what_it_began_with_and_resumes_on_nothing_else(tmp_path, monkeypatch, capfd):
    first, other = written(tmp_path, 7), written(tmp_path, 5)
    folder = tmp_path / "run"

    def go(path):
        return distill(recipe_from(path, epochs=2), folder, train=quick_data(), accelerator="cpu")

    died_before(monkeypatch, 4, lambda: go(first))
    assert f"{folder}: the student begins with the weights of {first} (" in capfd.readouterr().err
    Path(first).rename(tmp_path / "there.safetensors")
    Path(other).rename(first)
    with pytest.raises(ValueError, match="began with another student_init"):
        go(first)
    (tmp_path / "there.safetensors").rename(first)
    run, whole = go(first), distill(recipe_from(first, epochs=2), tmp_path / "whole", train=quick_data(),
                                    accelerator="cpu")  # fmt: skip
    assert differences(state_of(run), state_of(whole)) == []
    assert state_of(run)["inputs"]["digests"]["student_init"].endswith(" with a new head")
    header = models.checkpoint.provenance(run.best)
    said = Selection.from_header(header)
    assert said.student_init.startswith(f"the weights of {first} (") and "; begun with the weights of" in str(said)
    assert json.loads(header["selection"])["student_init"] == said.student_init


def test_a_student_of_ones_own_begins_with_other_weights_too(tmp_path, tiny):
    source = f"python:{Path(__file__).with_name('conftest.py')}:Tiny"
    run = quick(tmp_path / "run", {"student": tiny(5)}, "pgd_at", student_init=source, epochs=1)
    assert isinstance(run, Run) and load_file(run.last).keys() == tiny().state_dict().keys()


def test_a_path_without_a_file_is_found_before_torch_is_imported(tmp_path):
    done = advdistill("train", "digits.pgd_at", "--student-init", "nowhere.safetensors", cwd=tmp_path)
    assert "The student_init nowhere.safetensors does not exist yet. Train it first" in done.sentence
