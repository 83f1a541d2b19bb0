"""Tiny-ImageNet in the official layout, reduced to one training picture per class and three validation pictures."""

import io
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from advdistill import data
from advdistill.data import tiny_imagenet
from advdistill.data.registry import _DATASETS

WNIDS = list(tiny_imagenet._LABELS)
VAL = {"val_0.JPEG": "n01443537", "val_1.JPEG": "n12267677", "val_2.JPEG": "n02504458"}
PICTURE = "val/images/val_1.JPEG"
GREY = f"train/{WNIDS[7]}/images/{WNIDS[7]}_0.JPEG"


def jpeg(level, size=(64, 64), mode="RGB"):
    """A picture of one colour (level, level + 20, 250 - level); JPEG changes it by a few levels at most."""
    colour = level if mode == "L" else (level, level + 20, 250 - level)
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "JPEG", quality=95)
    return file.getvalue()


def write(home):
    """Training image of class k: level k; validation image i: level 100 + i. One training picture is grey."""
    files = {f"train/{wnid}/images/{wnid}_0.JPEG": jpeg(k) for k, wnid in enumerate(WNIDS)}
    files |= {f"train/{wnid}/{wnid}_boxes.txt": b"" for wnid in WNIDS} | {GREY: jpeg(90, mode="L")}
    files |= {f"val/images/{name}": jpeg(100 + i) for i, name in enumerate(VAL)}
    lines = [f"{name}\t{wnid}\t0\t32\t44\t62" for name, wnid in VAL.items()]
    files |= {"val/val_annotations.txt": "\n".join([*lines, ""]).encode(), "wnids.txt": "\n".join(WNIDS[::-1]).encode()}
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    monkeypatch.setitem(tiny_imagenet._SIZES, "train", 200)
    monkeypatch.setitem(tiny_imagenet._SIZES, "test", 3)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    write(tmp_path_factory.mktemp("official") / "tiny-imagenet-200")
    return tmp_path_factory.getbasetemp() / "official0"


@pytest.fixture
def home(official, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(official / "tiny-imagenet-200", tmp_path / "tiny-imagenet-200")


def pack(home, folder):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(home.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(home.parent).as_posix())
    return folder


def test_the_classes_are_those_of_the_words():
    classes = _DATASETS["tiny_imagenet"].classes
    assert len(classes) == len(set(classes)) == 200 and sorted(WNIDS) == WNIDS
    named = dict(zip(WNIDS, classes, strict=True))
    assert named["n01443537"] == "goldfish" and named["n01629819"] == "European fire salamander"
    assert named["n02124075"] == "Egyptian cat" and named["n03992509"] == "potter's wheel"
    assert named["n04067472"] == "reel" and classes[-1] == "acorn"


@pytest.mark.parametrize("inner", ["", "tiny-imagenet-200"])
def test_a_folder(official, inner):
    split = data.load("tiny_imagenet", "train", official / inner)
    assert split.shape == (3, 64, 64) and split.labels.tolist() == list(range(200))
    assert split.images.is_contiguous() and len(split.images) == 200
    torch.testing.assert_close(split.images[150, :, 3, 60].int(), torch.tensor([150, 170, 100]).int(), atol=3, rtol=0)


def test_grey_pictures_become_colour(official):
    image = data.load("tiny_imagenet", "train", official).images[7]
    assert image.unique().tolist() == [90] and image.shape == (3, 64, 64)


def test_the_official_validation_images_are_the_test_split(official):
    split = data.load("tiny_imagenet", "test", official)
    assert split.labels.tolist() == [WNIDS.index(wnid) for wnid in VAL.values()]
    assert [split.classes[label] for label in split.labels] == ["goldfish", "acorn", "African elephant"]
    np.testing.assert_allclose(split.images[:, 0, 9, 9], [100, 101, 102], atol=3)


def test_pictures_are_upright(home):
    file = io.BytesIO()
    corner = np.zeros((64, 64, 3), np.uint8)
    corner[:16, :40] = 255  # 16 rows, 40 columns
    Image.fromarray(corner).save(file, "JPEG", quality=95)
    (home / PICTURE).write_bytes(file.getvalue())
    image = data.load("tiny_imagenet", "test", home).images[1]
    assert image[:, 4, 32].min() > 250 and image[:, 32, 4].max() < 5 and image[:, 4, 60].max() < 5


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_zip_is_read_as_it_is(official, tmp_path, split):
    folder = pack(official / "tiny-imagenet-200", tmp_path / "packed")
    packed, unpacked = (data.load("tiny_imagenet", split, place) for place in (folder, official))
    assert packed.fingerprint() == unpacked.fingerprint()
    assert [path.name for path in folder.iterdir()] == ["tiny-imagenet-200.zip"]


def test_the_cache(official, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    pack(official / "tiny-imagenet-200", tmp_path / "tiny_imagenet")
    assert len(data.load("tiny_imagenet", "test")) == 3


def test_images_of_a_class_are_in_the_order_of_their_names(home, monkeypatch):
    monkeypatch.setitem(tiny_imagenet._SIZES, "train", 202)
    for number, level in ((2, 30), (10, 60)):
        (home / f"train/{WNIDS[0]}/images/{WNIDS[0]}_{number}.JPEG").write_bytes(jpeg(level))
    split = data.load("tiny_imagenet", "train", home)
    assert split.labels[:4].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(split.images[:3, 0, 0, 0], [0, 60, 30], atol=3)  # _0, _10, _2


def test_it_is_nowhere(tmp_path, monkeypatch):
    (tmp_path / "holiday.jpg").touch()
    expected = "expected wnids.txt, train and val, or tiny-imagenet-200.zip in .*; found holiday.jpg. Get it: put tiny-"
    with pytest.raises(ValueError, match=expected + ".*cs231n.stanford.edu into .*tiny_imagenet.*--data.folder FOLDER"):
        data.load("tiny_imagenet", "train", tmp_path)
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"in {tmp_path}/tiny_imagenet; found no such folder. Get it"):
        data.load("tiny_imagenet", "train")


def annotate(line):
    return lambda home: (home / "val/val_annotations.txt").write_text(line)


@pytest.mark.parametrize(("split", "spoil", "message"), [
    ("train", lambda home: (home / GREY).unlink(), "has 199 pictures for train, expected 200"),
    ("test", annotate("val_0.JPEG\tn01443537\n"), "has 1 pictures for test, expected 3"),
    ("test", annotate("val_0.JPEG\tn99999999\t0\n"), "val_0.JPEG has class n99999999, which is not a class of Tiny"),
    ("test", annotate("val_0.JPEG\n"), "val_0.JPEG has class nothing, which is not a class"),
    ("test", lambda home: (home / "val/val_annotations.txt").unlink(),
     "lacks val/val_annotations.txt. Download the off"),  # fmt: skip
    (
        "test",
        lambda home: (home / PICTURE).unlink(),
        f"lacks {PICTURE}. Download the official tiny-imagenet-200.zip again",
    ),
    ("test", lambda home: (home / PICTURE).write_bytes(jpeg(5)[:-200]), f"{PICTURE} is not a complete picture"),
    ("test", lambda home: (home / PICTURE).write_bytes(b"\xff\xd8 no"), f"{PICTURE} is not a complete picture"),
    ("test", lambda home: (home / PICTURE).write_bytes(b""), f"{PICTURE} is not a complete picture"),
    ("test", lambda home: (home / PICTURE).write_bytes(jpeg(5, (64, 32))), "has 64 x 32 pixels, expected 64 x 64"),
    ("train", lambda home: (home / "wnids.txt").write_text("\n".join([*WNIDS, "n02480855"])),
     "wnids.txt lists 201 classes, expected the 200 of Tiny-ImageNet; the two differ in 'n02480855'"),
    ("train", lambda home: (home / "wnids.txt").write_text("\n".join(WNIDS[1:])), "lists 199 .* differ in 'n01443537'"),
    ("train", lambda home: (home / f"train/{WNIDS[0]}").rename(home / "train/n00000000"),
     "n00000000/images/n01443537_0.JPEG has class n00000000, which is not a class"),
])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_mistakes_are_explained(home, tmp_path, split, spoil, message, packed):
    spoil(home)
    with pytest.raises(ValueError, match=message):
        data.load("tiny_imagenet", split, pack(home, tmp_path / "packed") if packed else home)


def test_half_a_zip(official, tmp_path):
    file = pack(official / "tiny-imagenet-200", tmp_path) / "tiny-imagenet-200.zip"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="tiny-imagenet-200.zip is damaged: .*not a zip file. Download the official"):
        data.load("tiny_imagenet", "test", tmp_path)


@pytest.mark.parametrize(("skip", "message"), [(0, "invalid stored block"), (20, "Bad CRC-32 for file")])
def test_a_zip_with_wrong_bytes(official, tmp_path, skip, message):
    file = pack(official / "tiny-imagenet-200", tmp_path) / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(file) as archive:
        entry = archive.getinfo(f"tiny-imagenet-200/{PICTURE}")
    content = bytearray(file.read_bytes())
    start = entry.header_offset + 30 + len(entry.filename) + skip
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"tiny-imagenet-200.zip is damaged: .*{message}.*. Download the official"):
        data.load("tiny_imagenet", "test", tmp_path)


def test_without_pillow(official, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'Tiny-ImageNet needs .*: pip install "advdistill\[data\]"'):
        data.load("tiny_imagenet", "test", official)
