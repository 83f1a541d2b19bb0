"""Tests that images streamed from disk give the same pictures, fingerprints and weights as in memory, bit for bit."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from children import wait_until
from pictures import pixels, save
from training import differences, losses_of, same_weights, short, state_of

from advdistill import Data, Run, data, distill, evaluate, models
from advdistill.data import Split, streamed
from advdistill.data.batches import Batches, in_order
from advdistill.data.own import pictures as own_pictures
from advdistill.data.own import stack, streaming
from advdistill.data.streamed import Streamed
from advdistill.train import trainer as loop


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three classes of 30 images: PNG and JPEG, in colour and grey, of two sizes, without folders for parts."""
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    home = tmp_path / "mine"
    for label in ("a", "b", "c"):
        for i in range(30):
            image = pixels(12, 8, 3) if i % 3 else pixels(10, 10)
            save(home / label / f"{i}.{'jpg' if i % 2 else 'png'}", image)
    return home


@pytest.fixture
def here(monkeypatch):
    """Decode in this process, so that a test can record the calls."""
    monkeypatch.setattr(streamed, "decoded", lambda decode, batches: map(decode, batches))


class Counted:
    """A fake decoder that records places: the one pixel of an image is its place."""

    def __init__(self):
        self.places = []

    def __call__(self, places):
        self.places += list(places)
        return np.array(places, np.uint8).reshape(-1, 1, 1, 1), []


def counted(n: int = 40) -> tuple[Split, Counted]:
    decode = Counted()
    images = Streamed(decode, np.arange(n), (1, 1, 1), "counted")
    return Split(images, torch.arange(n) % 2, ("a", "b"), "counted"), decode


def equal(lazy: Split, plain: Split) -> bool:
    return (
        isinstance(lazy.images, Streamed)
        and torch.equal(lazy.images[:], plain.images)
        and torch.equal(lazy.labels, plain.labels)
        and (lazy.name, lazy.shape, lazy.fingerprint()) == (plain.name, plain.shape, plain.fingerprint())
    )


def test_a_stream_is_the_split_in_memory(folder):
    for part in ("train", "test"):
        plain, lazy = (data.load(str(folder), part, size=8, stream=stream) for stream in (False, True))
        assert equal(lazy, plain)
        assert all(map(equal, lazy.holdout(0.2, 3), plain.holdout(0.2, 3)))
        assert equal(lazy.first(7).take([5, 0]), plain.first(7).take([5, 0]))
        for one, other in zip(in_order(lazy, 5, "cpu"), in_order(plain, 5, "cpu"), strict=True):
            assert one[0] == other[0] and all(map(torch.equal, one[1:], other[1:]))


def test_a_table_is_a_stream_too(folder):
    rows = [f"{file.relative_to(folder)},{file.parent.name}" for file in sorted(folder.rglob("*.*"))]
    (folder / "x.csv").write_text("\n".join(["path,label", *rows]))
    plain, lazy = (data.load(f"{folder}/x.csv", "train", size=8, stream=stream) for stream in (False, True))
    assert equal(lazy, plain)


def train(folder, out, stream, **changes) -> Run:
    source = Data(str(folder), size=8, stream=stream, validation=0.2, augment="crop_flip")
    changes = {"epochs": 2, "batch_size": 16, "swa": 1.0, "data": source} | changes
    return distill(short("pgd_at", **changes), out, accelerator="cpu")


def test_a_streamed_training_is_the_one_in_memory(folder, tmp_path):
    plain, lazy = (train(folder, tmp_path / str(stream), stream) for stream in (False, True))
    assert differences(state_of(plain), state_of(lazy)) == []
    assert same_weights(plain.last, lazy.last) and same_weights(plain.best, lazy.best)
    assert models.checkpoint.provenance(plain.best) == models.checkpoint.provenance(lazy.best)
    assert losses_of(plain) == losses_of(lazy) != []
    splits = [data.load(str(folder), "test", size=8, stream=stream) for stream in (False, True)]
    first, second = (evaluate(models.load(str(lazy)), split, suite="quick") for split in splits)
    assert first.fingerprint == second.fingerprint
    assert [m.correct for m in first.measurements] == [m.correct for m in second.measurements]


def test_interrupted_within_an_epoch_it_ends_the_same(folder, tmp_path, monkeypatch):
    whole, broken = train(folder, tmp_path / "whole", True), tmp_path / "broken"
    step = loop.Trainer._step

    def stopped(self, *arguments):
        step(self, *arguments)
        if self.state.at.step == 5:  # the second step of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stopped)
        with pytest.raises(loop.Interrupted):
            train(folder, broken, True)
    assert state_of(Run(broken))["position"]["batch"] > 0
    run = train(folder, broken, True)
    assert differences(state_of(whole), state_of(run)) == [] and same_weights(whole.last, run.last)


def test_every_image_that_cannot_be_read_is_named(folder):
    for place, cut in (("a/0.png", -40), ("b/1.jpg", -100), ("c/2.png", 0)):
        (folder / place).write_bytes((folder / place).read_bytes()[:cut])
    for part in ("train", "test"):
        with pytest.raises(ValueError, match="^3 of 90 images of .* cannot be read: a/0.png .*b/1.jpg .*c/2.png"):
            data.load(str(folder), part, size=8, stream=True)
    (folder / "c/2.png").unlink()
    with pytest.raises(ValueError, match="^2 of 89 images"):  # found by the processes that decode
        data.load(str(folder), "train", size=8, stream=True)


def test_a_second_start_decodes_nothing(folder, monkeypatch):
    before = data.load(str(folder), "test", size=8, stream=True)
    with monkeypatch.context() as patch:
        for name in ("header", "pixels", "content"):
            patch.setattr(own_pictures.Encoded, name, None)
        patch.setattr(streaming.hashlib, "file_digest", None)
        again = data.load(str(folder), "test", size=8, stream=True)
        assert again.fingerprint() == before.fingerprint()
    save(folder / "a" / "0.png", pixels(9, 9, 3))
    assert data.load(str(folder), "train", size=8, stream=True).shape == before.shape
    (index,) = (folder.parent / "cache" / "streamed").glob("*.json")
    assert len(json.loads(index.read_text())["files"]) == 90
    index.write_text("{")
    assert data.load(str(folder), "test", size=8, stream=True).fingerprint()


def test_a_file_that_changes_or_vanishes_meanwhile_is_named(folder):
    split = data.load(str(folder), "train", size=8, stream=True)
    files = [split.images.decode.args[0].files.paths[i] for i in split.images.places]
    save(files[3], pixels(8, 8, 3))
    files[20].unlink()
    seen = []
    with pytest.raises(ValueError, match=rf"1 of 8 images of .*/train can no longer .*{files[3].name} \(changed\)"):
        for start, _, _ in in_order(split, 8, "cpu"):
            seen.append(start)
    assert seen == []
    with pytest.raises(ValueError, match=rf"{files[20].name} \(no such file\)"):
        split.images[20:22]


def test_parts_are_decoded_when_they_are_read_and_no_sooner(here):
    split, decode = counted()
    kept, held = split.holdout(0.25, 0)
    some = kept.first(6).take([4, 1])
    assert decode.places == [] and len(held) == 10 and some.shape == (1, 1, 1)
    assert some.images[:].flatten().tolist() == decode.places and len(decode.places) == 2
    batches = in_order(held, 4, "cpu")
    next(batches)
    assert len(decode.places) == 2 + 4
    held.fingerprint(), held.fingerprint()
    assert len(decode.places) == 2 + 4 + 10


def test_each_of_two_processes_decodes_its_share(here):
    whole, decode = counted()
    plain = Split(whole.images[:], whole.labels, whole.classes, "plain")
    shares = []
    for rank in (0, 1):
        decode.places.clear()
        shares.append(list(Batches(whole, 7, "none", 1, rank=rank, world=2).epoch(2, skip=1)))
        read = [place for share in shares[rank] for place in (share.x * 255).round().flatten().int().tolist()]
        assert decode.places == read and len(read) < 20
    wanted = list(Batches(plain, 7, "none", 1).epoch(2, skip=1))
    for first, second, both in zip(*shares, wanted, strict=True):
        assert torch.equal(torch.cat([first.x, second.x]), both.x)
        assert torch.equal(torch.cat([first.y, second.y]), both.y)
        assert (first.start, second.start, first.total, second.total) == (0, len(first.y), both.total, both.total)


def stalled(places):
    time.sleep(0.05)
    return np.array(places, np.uint8).reshape(-1, 1, 1, 1), []


def test_processes_come_and_go_with_the_iterator_and_are_not_of_the_group_that_is_stopped():
    images = Streamed(stalled, np.arange(60), (1, 1, 1), "stalled")
    state = torch.get_rng_state()
    batches = images.batches([slice(start, start + 3) for start in range(0, 60, 3)])
    found = [next(batches)]
    children = multiprocessing.active_children()
    # signals to the run's process group do not reach them
    wait_until(lambda: all(os.getpgid(child.pid) == child.pid for child in children))
    found += batches
    assert torch.cat(found).flatten().tolist() == list(range(60)) and len(children) == streamed.workers()
    assert torch.equal(torch.get_rng_state(), state)
    wait_until(lambda: multiprocessing.active_children() == [])
    batches = images.batches([[0]] * 20)
    next(batches)
    batches.close()
    wait_until(lambda: multiprocessing.active_children() == [])


def test_a_process_that_is_killed_is_a_sentence():
    images = Streamed(stalled, np.arange(60), (1, 1, 1), "stalled")
    batches = images.batches([[i] for i in range(60)])
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    expected = "A process that decodes images has ended, perhaps for lack of memory: DataLoader"
    with pytest.raises(OSError, match=expected):
        list(batches)


def test_what_does_not_fit_is_streamed_or_refused(folder, monkeypatch, capsys):
    monkeypatch.setattr(stack, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"need 0.0 GB .* Or read them batch by batch: --data.stream\.$"):
        data.load(str(folder), "test", size=8)
    assert isinstance(data.load(str(folder), "test", size=8, stream=None).images, Streamed)
    assert "--data.stream. That is done now." in capsys.readouterr().err


def test_what_is_no_file_by_itself_cannot_be_streamed(tmp_path):
    with pytest.raises(ValueError, match="digits is read into memory; data.stream is for your own image files"):
        data.load("digits", "train", stream=True)
    np.savez(tmp_path / "x.npz", images=pixels(20, 8, 8), labels=np.arange(20) % 2)
    with pytest.raises(ValueError, match="x.npz is read as a whole; data.stream is for a folder or a table"):
        data.load(str(tmp_path / "x.npz"), "train", stream=True)
