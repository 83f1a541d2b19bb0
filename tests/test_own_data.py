"""Tests of a user's own images as data: which files are found, and to which parts and classes they belong."""


import numpy as np
import pytest
import torch
from pictures import make_parted, pixels, same, save
from PIL import Image

from advdistill import Data, data
from advdistill.data import svhn
from advdistill.data.own import collection


@pytest.fixture
def flat(tmp_path):
    """`DIR/CLASS/*.png`: ten different 8 x 8 images of each of three classes."""
    home = tmp_path / "flat"
    for name in ("10", "2", "cat"):
        for i in range(10):
            save(home / name / f"{i}.png")
    return home


@pytest.fixture
def parted(tmp_path):
    return make_parted(tmp_path)


def test_a_folder_of_classes_is_divided_once_and_for_all(flat):
    train, test = data.load(str(flat), "train"), data.load(str(flat) + "/", "test")
    assert train.classes == test.classes == ("2", "10", "cat")
    assert train.labels.bincount().tolist() == [8, 8, 8] and test.labels.bincount().tolist() == [2, 2, 2]
    assert (train.name, test.name, train.shape) == (f"{flat}/train", f"{flat}/test", (3, 8, 8))
    everything = [(np.asarray(Image.open(file)), train.classes.index(file.parent.name)) for file in flat.rglob("*.png")]
    both = data.Split(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]), train.classes, "")
    assert same(both, *zip(*everything, strict=True))
    for i, file in enumerate(sorted((flat / "cat").iterdir())):  # the split depends on no file's name
        file.rename(file.with_name(f"renamed{9 - i}.png"))
    assert {bytes(x.numpy()) for x in data.load(str(flat), "test").images} == {bytes(x.numpy()) for x in test.images}


def test_equal_images_stay_on_one_side(flat):
    for i in range(10):
        for copy in range(3):
            (flat / "cat" / f"copy{copy}-{i}.png").write_bytes((flat / "cat" / f"{i}.png").read_bytes())
    train, test = (data.load(str(flat), split).images for split in ("train", "test"))
    assert {bytes(x.numpy()) for x in train}.isdisjoint(bytes(x.numpy()) for x in test)
    assert len(test) == 2 + 2 + 8


def test_the_first_images_are_of_every_class(tmp_path):
    images, labels = pixels(60, 4, 4), np.repeat(np.arange(3), 20)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    split = data.load(str(tmp_path / "x.npz"), "test")
    assert set(split.first(12).labels.tolist()) == {0, 1, 2}
    assert same(split, np.repeat(images[..., None], 1, -1), labels)


def test_parts_and_what_lies_beside_them(parted):
    save(parted / "val" / "a" / "0.png")
    (parted / "train" / "a" / "Thumbs.db").touch()
    (parted / "train" / "a" / ".DS_Store").touch()
    (parted / "train" / ".git").mkdir()
    assert [len(data.load(str(parted), split)) for split in ("train", "test")] == [6, 4]
    notes = " ".join(data.collect(str(parted)).notes)
    assert "val is not used" in notes and "1 other files are ignored (.db)" in notes
    for split in ("test", "val"):
        (parted / split).rename(parted / f"old-{split}")
    (parted / "old-test").rename(parted / "validation")
    assert len(data.load(str(parted), "test")) == 4


def test_a_class_may_be_called_train(tmp_path):
    for name in ("car", "train"):
        for i in range(5):
            save(tmp_path / name / f"{i}.png")
    assert data.load(str(tmp_path), "train").classes == ("car", "train")


@pytest.mark.parametrize(("lose", "message"), [
    ("test/b", "class 'b' has no images in test; every part needs all the classes"),
    ("train/a", "class 'a' has no images in train"),
])  # fmt: skip
def test_a_class_that_one_part_lacks(parted, lose, message):
    (parted / lose).rename(parted / "away")
    with pytest.raises(ValueError, match=message):
        data.load(str(parted), "train")


@pytest.mark.parametrize(("make", "reference", "message"), [
    (None, "./nothing", "There is no file or folder ./nothing"),
    (None, "folder:digits", "There is no file or folder digits"),
    (None, "flowers", "Unknown dataset 'flowers'.* There is no file or folder of that name either"),
    ("x.zip", "x.zip", "x.zip is an archive; unpack it"),
    ("x.doc", "x.doc", "is neither a folder nor one of .npz, .csv"),
    ("x.npz", "folder:x.npz", "x.npz is a file, not a folder"),
    ("d/x.png", "npz:d", "d is not a file; npz: expects one"),
    ("d/x.png", "d", "d has no folder for each class; expected DIR/CLASS/picture.png"),
    ("d/a/x.txt", "d", "d/a holds no pictures"),
    ("d/test/a/x.png", "d", "has the parts test; expected train"),
    ("x.npz", "x.npz", "x.npz cannot be read: No data left in file"),
])  # fmt: skip
def test_references_that_lead_nowhere(tmp_path, monkeypatch, make, reference, message):
    monkeypatch.chdir(tmp_path)
    if make:
        (tmp_path / make).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / make).touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        data.load(reference, "train")


def test_a_part_that_is_there_twice(parted):
    save(parted / "training" / "a" / "0.png")
    with pytest.raises(ValueError, match="has the parts test, train, training; expected train"):
        data.load(str(parted), "train")


def test_a_part_without_classes_is_not_left_out_silently(parted):
    save(parted / "val" / "0.png")
    with pytest.raises(ValueError, match="parted/val has no folder for each class"):
        data.load(str(parted), "train")


def test_what_a_reference_does_not_take(flat):
    with pytest.raises(ValueError, match="is read where it is; leave out the folder /tmp"):
        data.load(str(flat), "train", "/tmp")
    with pytest.raises(ValueError, match="Unknown split 'val' of .*Known: train, test"):
        data.load(str(flat), "val")
    with pytest.raises(ValueError, match=r"digits has images of 8 x 8; data.size \(16\) is for your own images"):
        data.load("digits", "train", size=16)
    with pytest.raises(ValueError, match="data.size must lie between 8 and 512, got 4"):
        Data("x", size=4)


def test_names_are_sorted_as_people_count():
    assert sorted(["b10", "10", "b2", "9", "a"], key=collection.natural) == ["9", "10", "a", "b2", "b10"]


def test_svhn(tmp_path):
    from scipy.io import savemat

    images = pixels(32, 32, 3, 5)
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": np.array([[1], [10], [9], [2], [10]], np.uint8)})
    split = data.load("svhn", "train", tmp_path)
    assert split.labels.tolist() == [1, 0, 9, 2, 0]
    assert np.array_equal(split.images, images.transpose(3, 2, 0, 1))
    (tmp_path / "test_32x32.mat").write_bytes((tmp_path / "train_32x32.mat").read_bytes()[:-300])
    with pytest.raises(ValueError, match="test_32x32.mat is not"):
        data.load("svhn", "test", tmp_path)
    savemat(tmp_path / "train_32x32.mat", {"X": images[:8], "y": np.ones((5, 1))})
    with pytest.raises(ValueError, match="is not SVHN: expected X, uint8"):
        data.load("svhn", "train", tmp_path)
    with pytest.raises(ValueError, match="svhn: expected train_32x32.mat in .* Download http"):
        data.load("svhn", "train", tmp_path / "nowhere")


def test_svhn_out_of_reach(tmp_path, monkeypatch):
    def download(remote, path):
        raise ConnectionError("no route")

    monkeypatch.setattr(svhn, "download", download)
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"svhn: the official site is not reachable \(no route\). Download http"):
        data.load("svhn", "test")
