import json
import signal
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from children import advdistill
from safetensors.torch import load_file
from torch import nn
from training import differences, quick, quick_data, same_weights, short

from advdistill import Data, Distiller, Run, data, distill, models
from advdistill.train import trainer as loop
from advdistill.train.checkpoints import BestCheckpoint
from advdistill.train.setup import Networks, Placement, assemble, fabric_on
from advdistill.train.signals import Interrupted
from advdistill.train.trainer import Trainer


def same(first: Run, second: Run) -> bool:
    return same_weights(first.last, second.last)


def rows(run: Run) -> list[dict]:
    lines = run.metrics.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_run_leaves_its_files_and_learns(tmp_path):
    run = distill(short("pgd_at", epochs=12), tmp_path / "run")
    names = {f.name for f in run.folder.iterdir()}
    assert names >= {"recipe.yaml", "state.pt", "best.safetensors", "last.safetensors", "metrics.jsonl", "tensorboard"}
    history = rows(run)
    assert [row["epoch"] for row in history] == list(range(1, 13)) and history[-1]["step"] == 72
    assert history[-1]["loss/adv"] < history[0]["loss/adv"] - 0.05
    assert run.chosen.startswith("best PGD-10 accuracy on ") and run.recipe == short("pgd_at", epochs=12)


@pytest.mark.parametrize(("by", "best"), [("clean", 2), ("robust", 3), ("mean", 4)])
def test_the_best_checkpoint_is_the_best_of_the_validation(tmp_path, tiny, monkeypatch, by, best):
    measured = [(0.75, 0.125), (0.75, 0.25), (0.25, 0.5), (0.625, 0.375), (0.25, 0.25)]  # clean and robust, by epoch
    networks = []

    def figures(selection, model):
        networks.append({name: value.clone() for name, value in model.state_dict().items()})
        return dict(zip(("clean", "robust"), measured[len(networks) - 1], strict=True))

    monkeypatch.setattr(BestCheckpoint, "figures", figures)
    run = quick(tmp_path / "run", {"student": tiny()}, "pgd_at", epochs=5, validate_every=1, select_by=by)
    assert f"among 5 checkpoints, epoch {best} of 5" in run.chosen
    assert differences(load_file(run.best), networks[best - 1]) == []


def test_the_test_split_is_never_read(tmp_path, teacher, monkeypatch):
    asked, load = [], data.load
    monkeypatch.setattr(data, "load", lambda *given, **more: asked.append(given[1]) or load(*given, **more))
    distill(short("rslad", teacher, epochs=1), tmp_path / "run")
    assert asked == ["train"]


class Died(Exception):
    pass


@pytest.mark.parametrize(
    ("method", "ema"), [("rslad", None), ("rslad", 0.9), ("adaad+igdm", None), ("bmtard", None), ("mtard+igdm", 0.9)]
)
def test_a_run_that_died_anywhere_ends_bit_for_bit_the_same(tmp_path, teacher, monkeypatch, method, ema):
    recipe = short(method, teacher, ema=ema)
    whole = distill(recipe, tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0)  # a state after every step
    step, deaths = Trainer._step, iter([4, 6, 13])
    limit = [next(deaths)]

    def dying(trainer, *arguments):
        if trainer.state.at.step == limit[0]:
            limit[0] = next(deaths, None)
            raise Died
        step(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_step", dying)
    for _ in range(3):
        with pytest.raises(Died):
            distill(recipe, tmp_path / "died")
        torch.randn(5)  # what else the process draws does not matter
    died = distill(recipe, tmp_path / "died")
    assert same(whole, died) and rows(whole) == rows(died)
    assert same_weights(whole.best, died.best)


def test_a_finished_run_is_left_alone(tmp_path, teacher):
    recipe = short("rslad", teacher, epochs=1)
    run = distill(recipe, tmp_path / "run")
    before = {f.name: f.stat().st_mtime_ns for f in run.folder.glob("*.safetensors")}
    distill(recipe, tmp_path / "run")
    assert {f.name: f.stat().st_mtime_ns for f in run.folder.glob("*.safetensors")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_first(tmp_path, teacher, monkeypatch, number):
    recipe, step = short("rslad", teacher), Trainer._step

    def interrupted(trainer, *arguments):
        step(trainer, *arguments)
        if trainer.state.at.step == 7:
            signal.raise_signal(number)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    with pytest.raises(Interrupted, match=f"{number.name}; saved at step 8; run the same command to resume"):
        distill(recipe, tmp_path / "run")
    monkeypatch.undo()
    assert same(distill(recipe, tmp_path / "run"), distill(recipe, tmp_path / "whole"))


def test_seconds_before_an_interruption_count(tmp_path, teacher, monkeypatch):
    step, now = Trainer._step, [0.0]

    def slow(trainer, *arguments):
        step(trainer, *arguments)
        now[0] += 10
        if trainer.state.at.step == 7 and now[0] == 80:  # the second of six steps of the second epoch, the first time
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Trainer, "_step", slow)
    with pytest.raises(Interrupted, match="saved at step 8"):
        distill(short("rslad", teacher, epochs=3), tmp_path / "run")
    run = distill(short("rslad", teacher, epochs=3), tmp_path / "run")
    assert [json.loads(line)["seconds"] for line in run.metrics.read_text().splitlines()] == [60, 60, 60]


def test_the_seed_decides(tmp_path, teacher):
    first = distill(short("rslad", teacher, epochs=1), tmp_path / "first")
    assert same(first, distill(short("rslad", teacher, epochs=1), tmp_path / "second"))
    assert not same(first, distill(short("rslad", teacher, epochs=1, seed=1), tmp_path / "third"))


def test_nan_stops_naming_the_step_and_the_loss(tmp_path, teacher, monkeypatch):
    losses = Distiller.losses

    def breaking(distiller, *arguments, **options):
        named = losses(distiller, *arguments, **options)
        calls.append(1)
        return named | ({"clean": named["clean"] * float("nan")} if len(calls) == 8 else {})

    calls = []
    monkeypatch.setattr(Distiller, "losses", breaking)
    with pytest.raises(ValueError, match=r"The loss became nan at step 8 \(epoch 2\): 'clean' first.*state.pt.*lr"):
        distill(short("rslad", teacher), tmp_path / "run")
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["position"]["step"] == 6


def test_bf16_trains(tmp_path, teacher):
    run = distill(short("rslad", teacher, epochs=1, precision="bf16"), tmp_path / "run")
    assert all(weight.dtype != torch.bfloat16 for weight in load_file(run.last).values())


def test_own_modules_and_own_data(tmp_path, tiny):
    images = torch.randint(256, (60, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = data.Split(images, torch.arange(60) % 4, ("a", "b", "c", "d"), "mine/train")
    recipe = short("rslad", epochs=1, data=Data("mine"))
    run = distill(recipe, tmp_path / "run", student=tiny(0), teacher=tiny(1), train=split)
    with pytest.raises(ValueError, match="fits no known architecture"):
        models.load(run.best)
    assert Path(run.best).exists()


def test_fewer_training_images_are_still_none_of_the_held_out_ones(tiny):
    split = quick_data()
    recipe = short("pgd_at", data=Data("random", validation=0.1, train_images=60))
    parts = assemble(recipe, Networks(tiny()), Placement("cpu"), split)
    used, held = ({image.numpy().tobytes() for image in part.images} for part in (parts.train, parts.validation))
    assert (len(used), len(held)) == (60, 8) and not used & held


class Views(nn.Module):
    """Flattens with `view`, which channels-last memory does not allow."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.norm(self.convolution(x)).relu().view(len(x), -1))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_networks_train_channels_last_where_they_can(tmp_path, precision):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        students = {kind: kind() for kind in (Views, partial(models.create, "convnet-4", 4, 1))}
        for at, student in enumerate(students.values()):
            quick(tmp_path / str(at), {"student": student}, "pgd_at", precision=precision)
    views, convnet = ([p for p in student.parameters() if p.dim() == 4] for student in students.values())
    assert all(p.is_contiguous() for p in views)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convnet)
    said = [w for w in caught if "is not laid out channels-last: view size" in str(w.message)]
    assert len(said) == 2 and all(str(w.message).startswith("Views") for w in said)  # the student and its copy


def refused(recipe, folder, message, **options):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        distill(recipe, folder, **options)
    return not folder.exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"teacher": None}, "RSLAD needs a robust teacher"),
    ({"teacher": "nowhere.pt"}, "nowhere.pt"),
    ({"student": "convnt"}, "Unknown model 'convnt'"),
    ({"data": Data("digts")}, "Unknown dataset 'digts'. Did you mean 'digits'"),
    ({"data": Data(train_images=5000)}, "data.train_images must lie between 1 and 10"),
])  # fmt: skip
def test_mistakes_are_explained_and_leave_no_folder(tmp_path, teacher, changes, message):
    assert refused(replace(short("rslad", teacher), **changes), tmp_path / "run", message)


def test_networks_that_do_not_fit_are_refused(tmp_path, tiny):
    assert refused(short(), tmp_path / "run", "robust teacher has 7 classes, the student 10",
                   teacher=nn.Sequential(nn.Flatten(), nn.Linear(64, 7)))  # fmt: skip
    assert refused(short(), tmp_path / "run", "robust teacher cannot take images", teacher=models.create("resnet8"))


ABSENT = [("abacus", 1), ("cuda:0", 1), ("CPU", 1), ("tpu", 1), ("cpu", 0), ("cpu", -1), ("cpu", "many")]
ABSENT += [] if torch.backends.mps.is_available() else [("mps", 1)]
ABSENT += [] if torch.cuda.is_available() else [("cuda", 3)]


@pytest.mark.parametrize(("accelerator", "devices"), ABSENT)
def test_an_absent_accelerator_is_one_sentence(tmp_path, accelerator, devices):
    said = f"--accelerator {accelerator} with --devices {devices} does not exist on this machine.*It has --accelerator"
    with pytest.raises(ValueError, match=rf"{said} cpu \(--devices 1 or more\)"):
        distill(short("pgd_at"), tmp_path / "run", accelerator=accelerator, devices=devices)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=rf"{said} cpu"):
        fabric_on(accelerator, devices)


def test_the_command_refuses_an_absent_accelerator(tmp_path):
    out = tmp_path / "run"
    done = advdistill("train", "digits.pgd_at", "--accelerator", "abacus", "--out", out)
    assert done.returncode == 2 and "It has --accelerator cpu" in done.sentence
    assert not out.exists()


def test_a_folder_of_another_recipe_or_of_something_else_is_refused(tmp_path, teacher):
    distill(short("rslad", teacher, epochs=1), tmp_path / "run")
    message = "made with another recipe .epochs: 1 in the folder, 2 in this command"
    refused(short("rslad", teacher, epochs=2), tmp_path / "run", message)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    refused(short("rslad", teacher), tmp_path / "mine", "is not empty and not a run")
    refused(short("rslad", teacher), tmp_path / "mine" / "thesis.tex", "thesis.tex is a file, not a run's folder")


def test_two_processes_on_one_folder_are_refused(tmp_path, teacher):
    recipe, run = short("rslad", teacher, epochs=1), Run(tmp_path / "run")
    with run.writing(recipe):
        refused(recipe, tmp_path / "run", "Another process is writing to")
