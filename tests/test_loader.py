"""Training on users' data: on a loader's own batches and on every other form, with held-out data."""

import multiprocessing
import os
import re
import signal

import datasets
import numpy as np
import pytest
import torch
from conftest import Tiny
from test_given import Stream
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from training import differences, four, losses_of, quick, quick_data, same_weights, state_of

from advdistill import Data, Run
from advdistill._internal.rng import generator
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.data.loaded import Loaded, LoadedBatches
from advdistill.models.checkpoint import provenance
from advdistill.train import trainer as loop

WHOLE = quick_data()
TRAIN, HELD = WHOLE.holdout(0.1, 0)
TENSORS = TensorDataset(to_float(TRAIN.images), TRAIN.labels)


class AsOurs:
    """A batch sampler with the order of our own batches."""

    def __init__(self, size):
        self.size, self.epoch = size, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        order = torch.randperm(len(TRAIN), generator=generator(0, "order", self.epoch))
        return iter([part.tolist() for part in order.split(self.size)])

    def __len__(self):
        return len(TRAIN) // self.size


class Noisy(Dataset):
    """A dataset with a transform that draws from torch's global generator."""

    def __len__(self):
        return len(TRAIN)

    def __getitem__(self, i):
        x, y = TENSORS[i]
        return (x + 0.1 * torch.rand_like(x)).clamp(0, 1), y


def shuffled(**options):
    return DataLoader(Noisy(), **{"batch_size": 24, "shuffle": True} | options)


def train(folder, loader, method="rslad", **changes):
    return quick(folder, four(Tiny), method, **{"train": loader, "validation": HELD} | changes)


def same(one, other):
    """Whether two runs agree, except in the digests of their inputs: class names differ, or one input is a loader."""
    states = [{name: value for name, value in state_of(run).items() if name != "inputs"} for run in (one, other)]
    return not differences(*states) and same_weights(one.last, other.last) and losses_of(one) == losses_of(other)


def test_a_loader_with_a_generator_of_its_own_has_the_order_that_it_would_have_elsewhere():
    def loader():
        return shuffled(generator=torch.Generator().manual_seed(5))

    plain, ours = loader(), LoadedBatches(Loaded(loader(), WHOLE.classes), 0, "cpu")
    for epoch in (0, 1):
        assert [share.y.tolist() for share in ours.epoch(epoch)] == [y.tolist() for _, y in plain]


@pytest.mark.parametrize("method", ["rslad", "mtard"])
def test_a_loader_of_the_same_batches_trains_the_same_weights(tmp_path, method):
    mine = train(tmp_path / "mine", DataLoader(TENSORS, batch_sampler=AsOurs(24)), method)
    assert same(mine, train(tmp_path / "ours", TRAIN, method))
    assert mine.chosen == Run(tmp_path / "ours").chosen


FORMS = {
    "tensors": lambda: (WHOLE.images / 255, WHOLE.labels),
    "arrays": lambda: ((WHOLE.images / 255).numpy(), WHOLE.labels.numpy().astype(np.uint8)),
    "TensorDataset": lambda: TensorDataset(WHOLE.images, WHOLE.labels),
    "list": lambda: list(zip(WHOLE.images, WHOLE.labels.tolist(), strict=True)),
    "Hugging Face": lambda: datasets.Dataset.from_dict(
        {"image": [image[0].numpy() for image in WHOLE.images], "label": WHOLE.labels.tolist()},
        datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(WHOLE.classes))),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_other_form_trains_as_the_split(tmp_path, form):
    mine = train(tmp_path / "mine", FORMS[form](), validation=None)
    assert same(mine, train(tmp_path / "ours", WHOLE, validation=None))
    assert mine.chosen == Run(tmp_path / "ours").chosen


@pytest.mark.parametrize("augment", ["none", "shift"])
def test_floats_are_trained_on_as_they_are(tmp_path, augment):
    """Images rounded to n/255 are different images, and train different weights."""
    x = to_float(WHOLE.images) * 0.9
    rounded = Split(x.mul(255).round().byte(), WHOLE.labels, WHOLE.classes, "rounded")
    data = Data("x", augment=augment)
    exact, plain, other = (
        train(tmp_path / name, form, validation=None, data=data)
        for name, form in (("a", (x, WHOLE.labels)), ("b", Split(x, WHOLE.labels, WHOLE.classes, "x")), ("c", rounded))
    )
    assert same(exact, plain) and not same_weights(exact.last, other.last)


def test_what_is_held_out_is_what_was_given(tmp_path):
    others = WHOLE.take(range(0, 80, 2))
    run = train(tmp_path / "run", TRAIN, validation=(others.images / 255, others.labels))
    assert provenance(run.best)["chosen_on"] == others.fingerprint()
    assert "on 40 held-out" in run.chosen
    assert same(run, train(tmp_path / "again", TRAIN, validation=DataLoader(others_of(others), batch_size=7)))


def others_of(split):
    return TensorDataset(split.images, split.labels)


class Stopped:
    """Patch the trainer so that it calls `stop` after a step."""

    def __init__(self, patch, step, stop):
        plain = loop.Trainer._step

        def stopped(trainer, *arguments):
            plain(trainer, *arguments)
            if trainer.state.at.step == step:
                stop()

        patch.setattr(loop.Trainer, "_step", stopped)


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (3, 0), (4, 2)])
def test_a_run_on_a_shuffling_loader_is_resumed_where_it_was(tmp_path, monkeypatch, step, workers):
    """Bit for bit, since the loader draws only from torch's global generator; a warning states this condition."""
    whole = train(tmp_path / "whole", shuffled(num_workers=workers))
    with monkeypatch.context() as patch:
        Stopped(patch, step, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(loop.Interrupted):
            train(tmp_path / "run", shuffled(num_workers=workers))
    torch.manual_seed(99)
    with pytest.warns(UserWarning, match=r"at batch \d of epoch \d of the loader of Noisy. .* bit for bit only"):
        assert same(train(tmp_path / "run", shuffled(num_workers=workers)), whole)


def test_a_loader_draws_anew_in_each_epoch_and_leaves_the_generator_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    batches = LoadedBatches(Loaded(shuffled(), WHOLE.classes), 0, "cpu")
    first, second = ([share.y.tolist() for share in batches.epoch(epoch)] for epoch in (0, 1))
    assert first != second and sorted(sum(first, [])) == sorted(sum(second, [])) == sorted(TRAIN.labels.tolist())
    assert torch.equal(torch.get_rng_state(), state)
    again = LoadedBatches(Loaded(shuffled(), WHOLE.classes), 0, "cpu")
    assert [share.y.tolist() for share in again.epoch(0)] == first
    assert [share.y.tolist() for share in LoadedBatches(Loaded(shuffled(), WHOLE.classes), 1, "cpu").epoch(0)] != first


def test_what_stops_the_whole_group_stops_no_worker_before_the_state_is_saved(tmp_path, monkeypatch):
    def stop():
        workers = [worker.pid for worker in multiprocessing.active_children()]
        assert len(workers) == 2 and all(os.getpgid(pid) == pid for pid in workers)
        for pid in (*workers, os.getpid()):
            os.kill(pid, signal.SIGINT)

    Stopped(monkeypatch, 2, stop)
    begun = []
    loader = shuffled(batch_size=12, num_workers=2, prefetch_factor=1, worker_init_fn=begun.append)
    with pytest.raises(loop.Interrupted, match="SIGINT; saved at step 3"):
        train(tmp_path / "run", loader, batch_size=12)
    assert loader.worker_init_fn == begun.append


def test_a_last_batch_of_one_image_is_left_out(tmp_path):
    loader = DataLoader(TENSORS, batch_size=71)
    batches = LoadedBatches(Loaded(loader, WHOLE.classes), 0, "cpu")
    assert len(batches) == 1 and [len(share.y) for share in batches.epoch(0)] == [71]
    assert len(Loaded(DataLoader(TENSORS, batch_size=70), WHOLE.classes)) == 2
    assert len(Loaded(DataLoader(TENSORS, batch_size=71, drop_last=True), WHOLE.classes)) == 1
    assert state_of(train(tmp_path / "run", loader, batch_size=71))["position"]["step"] == 2


def test_its_batches_estimate_the_statistics_of_an_average(tmp_path):
    networks = {name: nn.Sequential(nn.BatchNorm2d(1), network) for name, network in four(Tiny).items()}
    run = quick(tmp_path / "run", networks, "rslad", train=DataLoader(TENSORS, 24), validation=HELD, swa=1)
    running = state_of(run)["average"]["module.0.running_mean"]
    assert torch.allclose(running, to_float(TRAIN.images).mean(), atol=1e-6)


def test_the_classes_of_a_loader_are_known_from_what_is_there(tmp_path):
    """From its dataset, else from a network that was given, else from the held-out data."""
    loader, three = DataLoader(TENSORS, 24), HELD.labels < 3
    held = (HELD.images[three], HELD.labels[three])
    assert train(tmp_path / "network", loader, validation=held).last.exists()
    with pytest.raises(ValueError, match=r"TensorDataset: labels must lie in 0\.\.2, the classes .* a batch has 3"):
        quick(tmp_path / "none", {}, "standard", train=loader, validation=held)
    named = TensorDataset(*TENSORS.tensors)
    named.classes = list("abcd")
    loader = DataLoader(named, 24)
    assert quick(tmp_path / "named", {}, "standard", train=loader, validation=held).last.exists()


class Endless(Stream):
    pass


def faulty(change):
    def made(rows):
        x, y = torch.stack([x for x, _ in rows]), torch.tensor([int(y) for _, y in rows])
        return change(x, y)

    return DataLoader(TENSORS, 24, collate_fn=made)


WRONG = {
    "no part held out": ({"validation": None}, "has no part held out to choose the checkpoint on; give validation"),
    "batch size": ({"batch_size": 32}, "has batches of 24, the recipe of 32. Set batch_size=24"),
    "augment": ({"data": Data("x", augment="shift")}, r"transforms of its own; data.augment \(shift\) would not be"),
    "some images": ({"data": Data("x", train_images=9)}, r"chooses its own images; data.train_images \(9\) would not"),
    "length": ({"train": DataLoader(Endless(), 24)}, "loader of Endless has no length, which is needed"),
    "empty": ({"train": DataLoader(TensorDataset(torch.zeros(0, 1, 4, 4), torch.zeros(0)), 24)}, "yields no batch"),
    "a Dataset that draws": ({"train": Noisy()}, r"Noisy draws its transforms anew.* Put it in a DataLoader\(dataset"),
    "one element": ({"train": DataLoader(TENSORS.tensors[0], 24)}, r"yields 1 element\(s\), which leaves no labels"),
    "0..255": ({"train": faulty(lambda x, y: (x * 255, y))}, "Divide them by 255"),
    "normalised": ({"train": faulty(lambda x, y: (x - 0.5, y))}, "Leave normalisation to the model"),
    "one-hot": ({"train": faulty(lambda x, y: (x, nn.functional.one_hot(y)))}, "seem to be one-hot"),
    "a label": ({"train": faulty(lambda x, y: (x, y + 1))}, r"labels must lie in 0\.\.3, .*; a batch has 4"),
    "labels missing": ({"train": faulty(lambda x, y: (x, y[1:]))}, "TensorDataset: 24 images but 23 labels"),
    "other sizes": ({"validation": (torch.rand(8, 1, 5, 5), torch.arange(8) % 4)},
                    "those held out differ: 4 classes of 1 x 4 x 4 and 4 classes of 1 x 5 x 5"),
    "held out of a split": ({"train": TRAIN, "validation": (torch.rand(8, 3, 4, 4), torch.arange(8) % 4)},
                            "those held out differ: 4 classes of 1 x 4 x 4 and 4 classes of 3 x 4 x 4"),
    "a label held out": ({"train": TRAIN, "validation": (HELD.images, HELD.labels + 1)}, r"must lie in 0\.\.3; this"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_a_sentence_before_a_file_is_written(tmp_path, what):
    changes, message = WRONG[what]
    with pytest.raises(ValueError, match=message) as raised:
        train(tmp_path / "run", DataLoader(TENSORS, 24), **changes)
    assert "\n" not in str(raised.value) and re.search(r"[.?)]$", str(raised.value))
    assert not (tmp_path / "run").exists()


def test_images_that_change_their_size_on_the_way(tmp_path):
    def change(x, y):
        return (x if len(seen) < 2 else x[:, :, :3]), y if seen.append(1) is None else y

    seen = []
    with pytest.raises(ValueError, match=r"its images differ in size, \[1, 3, 4\] after \[1, 4, 4\]. Resize them"):
        train(tmp_path / "run", faulty(change))
