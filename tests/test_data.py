"""Tests of the dataset registry and of the datasets that need no download."""

import json
import sys

import numpy as np
import pytest
import torch
from test_data_idx import encode

from advdistill import data
from advdistill.data import digits, fashion_mnist
from advdistill.data.registry import _DATASETS


def test_names():
    assert data.names() == ["cifar10", "cifar100", "digits", "fashion_mnist", "svhn", "tiny_imagenet"]


def test_describe_is_json_for_every_dataset():
    described = json.loads(json.dumps(data.describe()))
    assert [entry["name"] for entry in described] == data.names()
    cifar100 = described[1]
    assert (cifar100["classes"], cifar100["shape"]) == (100, [3, 32, 32])
    assert (cifar100["train"], cifar100["test"]) == (50_000, 10_000)
    assert all(entry["source"] and entry["how"] for entry in described)


@pytest.mark.parametrize("name", data.names())
def test_class_names_are_distinct(name):
    classes = _DATASETS[name].classes
    assert len(set(classes)) == len(classes) == {"cifar100": 100, "tiny_imagenet": 200}.get(name, 10)


def test_cifar100_classes_are_in_the_order_of_the_labels():
    assert list(_DATASETS["cifar100"].classes) == sorted(_DATASETS["cifar100"].classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar01", "Unknown dataset 'cifar01'. Did you mean 'cifar10'. Known: cifar10, cifar100, digits"),
        ("qqq", "Unknown dataset 'qqq'. Known: cifar10"),
    ],
)
def test_unknown_dataset(name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, "train")


def test_unknown_split():
    with pytest.raises(ValueError, match="Unknown split 'val' of digits. Known: train, test."):
        data.load("digits", "val")


def test_digits():
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert (len(train), len(test), train.shape, train.num_classes) == (1197, 600, (1, 8, 8), 10)
    assert (train.images.min(), train.images.max()) == (0, 255)
    assert test.labels.bincount().tolist() == [60] * 10
    assert train.name == "digits/train"


def test_digits_are_all_of_scikit_learn():
    from sklearn.datasets import load_digits

    ours = torch.cat([data.load("digits", split).images for split in ("train", "test")]).flatten(1)
    theirs = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, ours.numpy())) == sorted(map(bytes, theirs))


def test_digits_that_drifted_are_refused(monkeypatch):
    monkeypatch.setitem(digits._FINGERPRINTS, "test", "0" * 12)
    with pytest.raises(ValueError, match="digits/test has fingerprint .*, expected 0{12}: this scikit-learn"):
        data.load("digits", "test")


def test_digits_need_no_folder(tmp_path):
    with pytest.raises(ValueError, match="come with scikit-learn, not from a folder; leave out"):
        data.load("digits", "train", tmp_path)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'digits needs the package sklearn.*pip install "advdistill\[data'):
        data.load("digits", "train")


def write_fashion(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "t10k-images-idx3-ubyte").write_bytes(encode(images))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(encode(labels))


IMAGES = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
LABELS = np.array([9, 0, 1])


@pytest.mark.parametrize("inner", ["", "fashion_mnist"])
def test_fashion_mnist_in_a_folder(tmp_path, inner):
    write_fashion(tmp_path / inner, IMAGES, LABELS)
    split = data.load("fashion_mnist", "test", tmp_path)
    np.testing.assert_array_equal(split.images[:, 0], IMAGES)
    assert split.labels.tolist() == [9, 0, 1]
    assert split.classes[9] == "ankle boot"


def test_the_environment_names_the_data_folder(tmp_path, monkeypatch):
    write_fashion(tmp_path / "fashion_mnist", IMAGES, LABELS)
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    assert len(data.load("fashion_mnist", "test")) == 3


def test_fashion_mnist_of_another_size(tmp_path):
    write_fashion(tmp_path, IMAGES[:, :8, :8], LABELS)
    with pytest.raises(ValueError, match=r"holds images of \[8, 8\] pixels, expected \[28, 28\]"):
        data.load("fashion_mnist", "test", tmp_path)


def test_fashion_mnist_with_a_label_out_of_range(tmp_path):
    write_fashion(tmp_path, IMAGES, LABELS + 1)
    with pytest.raises(ValueError, match="test: labels must lie in 0..9; this split has 10 at index 0"):
        data.load("fashion_mnist", "test", tmp_path)


def test_a_folder_that_is_not_fashion_mnist(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="expected train-images-.* in .*; found holiday.jpg. Get them:"):
        data.load("fashion_mnist", "train", tmp_path)


@pytest.mark.parametrize(("make", "found"), [(False, "no such folder"), (True, "an empty folder")])
def test_no_fashion_mnist_anywhere(tmp_path, monkeypatch, make, found):
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    if make:
        (tmp_path / "fashion_mnist").mkdir()
    with pytest.raises(ValueError, match=f"in {tmp_path}/fashion_mnist; found {found}. Get them:"):
        data.load("fashion_mnist", "train")


def test_long_folders_are_cut_short(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}").touch()
    with pytest.raises(ValueError, match="found 0, 1, 2, 3, 4, 5 and 3 more. "):
        data.load("fashion_mnist", "train", tmp_path)
