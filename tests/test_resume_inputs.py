"""A run resumes only on the networks and data it began with, unless a change is accepted."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from children import advdistill
from conftest import Tiny
from pictures import save
from torch import nn
from training import died_before, differences, four, quick_data, same_weights, short, state_of

from advdistill import Data, Run, data, distill, models
from advdistill.results.metrics import read_metrics
from advdistill.train import inputs
from advdistill.train.inputs import Inputs, data_digests, described, network_digest
from advdistill.train.state import State
from advdistill.train.status import status

RECIPE = short("mtard", epochs=3, batch_size=24, data=Data("random"))


def go(folder, networks=None, split=None, **options) -> Run:
    return distill(RECIPE, folder, train=split or quick_data(), accelerator="cpu", **networks or four(Tiny), **options)


def begun(folder, monkeypatch, at: int = 4, **options) -> Run:
    """A run that dies before step `at`: 4 is in the second epoch."""
    died_before(monkeypatch, at, lambda: go(folder, **options))
    return Run(folder)


def other(name: str) -> dict[str, nn.Module]:
    """The networks of `four`, with one weight of the network `name` changed."""
    networks = four(Tiny)
    with torch.no_grad():
        next(networks[name].parameters()).flatten()[0] += 1e-3
    return networks


SPLIT = quick_data()
SPLITS = {
    "inverted": (replace(SPLIT, images=255 - SPLIT.images), "images"),
    "one pixel": (replace(SPLIT, images=SPLIT.images.index_fill(0, torch.tensor([39]), 7)), "images"),
    "labels": (replace(SPLIT, labels=(SPLIT.labels + 1) % 4), "labels"),
    "two labels": (replace(SPLIT, labels=SPLIT.labels[[1, 0, *range(2, 80)]]), "labels"),
    "classes": (replace(SPLIT, classes=("b", "a", "c", "d")), "classes"),
    "one more": (SPLIT.take([*range(80), 0]), "images, labels"),
    "one less": (SPLIT.first(79), "images, labels"),
    "order": (SPLIT.take([*range(4, 80), *range(4)]), "images"),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_other_data_are_refused(tmp_path, monkeypatch, kind):
    split, what = SPLITS[kind]
    run = begun(tmp_path / "run", monkeypatch)
    before = {file.name: file.read_bytes() for file in run.folder.glob("*.*") if file.name != ".lock"}
    expected = re.escape(f"run began with other data ({what}). Give the original inputs, ")
    with pytest.raises(ValueError, match=f"{expected}.*--accept-changes"):
        go(run.folder, split=split)
    assert {file.name: file.read_bytes() for file in run.folder.glob("*.*") if file.name != ".lock"} == before


@pytest.mark.parametrize(("name", "said"), [
    ("teacher", "another robust teacher"),
    ("clean_teacher", "another clean teacher"),
    ("student", "another student"),
])  # fmt: skip
def test_other_networks_are_refused(tmp_path, monkeypatch, name, said):
    run = begun(tmp_path / "run", monkeypatch)
    seed = "Seed it .torch.manual_seed. before you make it; its trained weights are in the state. "
    seed = seed if name == "student" else ""
    with pytest.raises(ValueError, match=f"began with {said}. {seed}Give the original inputs"):
        go(run.folder, other(name))


def test_several_differences_are_all_named(tmp_path, monkeypatch):
    run = begun(tmp_path / "run", monkeypatch)
    networks = other("teacher") | {"clean_teacher": other("clean_teacher")["clean_teacher"]}
    said = r"another clean teacher and another robust teacher and other data \(classes\)\."
    with pytest.raises(ValueError, match=said):
        go(run.folder, networks, SPLITS["classes"][0])


def test_a_peer_that_trains_along_and_a_finished_run(tmp_path):
    recipe = short("peeraid", epochs=1, batch_size=24, data=Data("random"))

    def run(name):
        networks = other(name) if name else four(Tiny)
        given = {role: networks[role] for role in ("student", "peer")}
        return distill(recipe, tmp_path / "run", train=quick_data(), accelerator="cpu", **given)

    run("")
    with pytest.raises(ValueError, match="began with another peer teacher. Seed it"):
        run("peer")


def test_a_role_of_ones_own_method(tmp_path, monkeypatch):
    made = {"student": "a", "teachers.second": "b"}
    with pytest.raises(ValueError, match="^r began with another second teacher. Give"):
        Inputs(dict(made)).resume(made | {"teachers.second": "c"}, {}, 0, "r", False)
    assert described(["data.extra"]) == "other data (extra)"


def test_continued_on_purpose_the_result_says_so(tmp_path, monkeypatch, capfd):
    run = begun(tmp_path / "run", monkeypatch)
    go(run.folder, other("teacher"), SPLITS["classes"][0], accept_changes=True)
    said = "from epoch 2 on with another robust teacher and other data (classes)"
    assert f"{run}: {said}, as accepted" in capfd.readouterr().err
    assert [row.get("changed_inputs", 0) for row in read_metrics(run.metrics)] == [0, 2, 2]
    assert state_of(run)["inputs"]["changes"] == {"data.classes": [1], "teachers.robust": [1]}
    assert "resumed on other networks or data than it began with (2 differ)" in status(run).health
    best = int(re.search(r"epoch (\d) of 3", run.chosen)[1])
    assert (f"; resumed {said}" in run.chosen) == (best > 1)
    go(run.folder, other("teacher"), SPLITS["classes"][0])  # these are the recorded inputs now
    with pytest.raises(ValueError, match="another robust teacher and other data"):
        go(run.folder)


def test_a_checkpoint_from_before_a_change_does_not_name_it():
    changes = {"data.images": [2], "teachers.robust": [2, 4]}
    third = "from epoch 3 on with another robust teacher and other data (images)"
    said = [Inputs(changes=changes).changed_before(epoch) for epoch in (1, 2, 3, 5)]
    assert said == ["", "", third, f"{third}, from epoch 5 on with another robust teacher"]


def test_a_student_with_other_weights_continues_from_the_states(tmp_path, monkeypatch):
    whole, run = go(tmp_path / "whole"), begun(tmp_path / "run", monkeypatch)
    go(run.folder, other("student"), accept_changes=True)
    assert same_weights(whole.last, run.last) and differences(state_of(whole), state_of(run)) == []


def test_a_module_that_this_process_has_trained_is_the_same_student(tmp_path, monkeypatch):
    networks = four(Tiny)
    run = begun(tmp_path / "run", monkeypatch, networks=networks)
    go(run.folder, networks)
    assert same_weights(go(tmp_path / "whole").last, run.last)


def test_given_and_made_students_differ(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="another student"):
        now, saved = {"student": inputs.FROM_RECIPE}, {"student": Tiny()}
        Inputs({"student": network_digest(Tiny())}).resume(now, saved, 1, "r", False)


def test_a_state_without_digests_resumes_with_a_line(tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        values = State._values
        patch.setattr(State, "_values", lambda self: {k: v for k, v in values(self).items() if k != "inputs"})
        run = begun(tmp_path / "run", monkeypatch)
    go(run.folder, other("teacher"))
    assert "run: its state has no digests (written by an earlier version), so networks" in capfd.readouterr().err
    with pytest.raises(ValueError, match="another robust teacher"):
        go(run.folder)


def test_weights_buffers_and_architecture_make_a_digest():
    def made(name="convnet-2", **statistics):
        torch.manual_seed(0)
        return models.create(name, 10, 1, **statistics)

    digests = [network_digest(made()), network_digest(made(mean=[0.5])), network_digest(made(mean=[0.4]))]
    assert len(set(digests)) == 3 and digests[0] == network_digest(made())
    channels_last = made().to(memory_format=torch.channels_last)
    assert network_digest(channels_last) == digests[0]


def test_more_than_fits_is_sampled_and_every_image_read_on_request(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 40 * 16)
    first = {every: data_digests(SPLIT, SPLIT, every) for every in (False, True)}
    changed = {every: data_digests(SPLITS["one pixel"][0], SPLIT, every) for every in (False, True)}
    assert first[False] == changed[False] and "data.content" not in first[False]
    assert [name for name in first[True] if first[True][name] != changed[True][name]] == ["data.content"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders with the same file names but different content: a teacher and images of three classes."""
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    random = np.random.RandomState(0)
    for seed, home in enumerate(("one", "two")):
        torch.manual_seed(seed)
        (tmp_path / home).mkdir()
        models.save(models.create("convnet-2", 3, 1), tmp_path / home / "t.safetensors")
        for label in "abc":
            for i in range(8):
                save(tmp_path / home / "x" / label / f"{i}.png", random.randint(0, 256, (8, 8)).astype(np.uint8))
    return tmp_path


COMMAND = "train digits.rslad --student convnet-2 --teacher t.safetensors --data.name x --data.validation 0.2 \
--data.augment none --attack.steps 1 --epochs 1 --batch-size 8 --suite None --accelerator cpu --out ../run"


def test_the_same_relative_path_from_another_directory(place):
    def command(*more):
        return advdistill(*COMMAND.split(), *more, cwd=place / home)

    home = "one"
    assert command().returncode == 0
    home = "two"
    done = command()
    assert done.returncode == 2, done.stderr
    assert "run began with another robust teacher and other data (images). Give" in done.sentence
    for part in ("t.safetensors", "x"):
        shutil.move(place / "two" / part, place / "two" / f"old.{part}")
        copy = shutil.copytree if part == "x" else shutil.copy
        copy(place / "one" / part, place / "two" / part)
    assert command().returncode == 0  # the same content elsewhere
    (place / "two" / "x" / "a").rename(place / "two" / "x" / "aa")
    (place / "two" / "x" / "b").rename(place / "two" / "x" / "a")
    (place / "two" / "x" / "aa").rename(place / "two" / "x" / "b")
    assert "other data (images). Give" in command().sentence
    assert command("--accept-changes").returncode == 0


def test_a_stream_has_the_digests_of_the_images_in_memory(place):
    plain, lazy = (data.load(str(place / "one" / "x"), "train", stream=stream) for stream in (False, True))
    assert data_digests(plain, plain) == data_digests(lazy, lazy) == data_digests(lazy, lazy, every_image=True)
    part = lazy.take(range(10))  # whose fingerprint is not known
    assert "data.content" not in data_digests(part, part)
    assert data_digests(part, part, every_image=True) == data_digests(plain.take(range(10)), plain.take(range(10)))
