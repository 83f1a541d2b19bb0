"""Tests of options for a user's own data: bits, broken images, names of columns, a validation part, the hub."""

import json
import warnings

import datasets
import huggingface_hub
import numpy as np
import pyarrow
import pytest
from children import advdistill
from pictures import make_parted, pixels, png, same, save
from PIL import Image
from pyarrow.parquet import write_table
from training import short

from advdistill import Data, data, distill
from advdistill.data.own import pictures as own_pictures


def deep(home, most, parts=("train", "test"), kind="png"):
    """Write 16-bit images whose brightest pixel is `most`; return the folder."""
    for part in parts:
        for label in "ab":
            for i in range(4):
                image = np.random.RandomState(i).randint(0, most, (8, 8)).astype(np.uint16)
                image[0, 0], image[0, 1] = most, 0
                save(home / part / label / f"{i}.{kind}", image)
    return str(home)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_of_sixteen_are_told_and_read(bits, kind, tmp_path):
    home = deep(tmp_path / "dark", 2**bits - 1, kind=kind)
    with pytest.warns(UserWarning, match=rf"have 16 bits and seem to use {bits} of them, .* --data.bits {bits}, or"):
        assert data.load(home, "train").images.max() <= 64
    assert f"--data.bits {bits}" in " ".join(data.collect(home).notes)
    split = data.load(home, "train", bits=bits)
    raw = np.asarray(Image.open(tmp_path / f"dark/train/a/1.{kind}")).astype(float)
    expected = np.rint(raw * 255 / (2**bits - 1)).astype(np.uint8)
    assert split.images.max() == 255 and any(np.array_equal(image[0], expected) for image in split.images.numpy())
    with pytest.raises(ValueError, match=r"\(a pixel of \d+, more than the 511 of data.bits 9\)"):
        data.load(home, "train", bits=9)
    assert data.load(home, "train", bits=16).images.max() <= 64  # read as 16 bits, the images are dark


def test_a_stream_is_told_and_read_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    home = deep(tmp_path / "dark", 4095)
    with pytest.warns(UserWarning, match="seem to use 12"):
        dark = data.load(home, "train", stream=True).images[:]
    plain, streamed = (data.load(home, "train", stream=stream, bits=12) for stream in (False, True))
    assert np.array_equal(streamed.images[:], plain.images) and plain.images.max() == 255 > dark.max()
    assert streamed.fingerprint() == plain.fingerprint()


def test_sixteen_bits_and_eight_are_no_matter(tmp_path):
    deep(tmp_path / "whole", 65_535)
    for part in ("train", "test"):
        for label in "ab":
            save(tmp_path / "night" / part / label / "0.png", pixels(8, 8) // 32)  # 8 bits, and dark
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load(str(tmp_path / "whole"), "train").images.max() == 255
        data.load(str(tmp_path / "night"), "train")


def test_colour_of_sixteen_bits_is_known(tmp_path):
    """Pillow reads only the upper 8 bits of 16-bit colour."""
    import struct
    import zlib

    rows = b"".join(b"\0" + np.full((8, 3), 4095, ">u2").tobytes() for _ in range(8))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)),
                       (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    encoded = own_pictures.Encoded(["x"], lambda i: __import__("io").BytesIO(content), 12)
    assert encoded.header(0).deep
    with pytest.raises(own_pictures.Unreadable, match="16-bit colour does not support data.bits"):
        encoded.pixels(0)


def test_an_npz_of_sixteen_bits(tmp_path):
    images = np.random.RandomState(0).randint(0, 4096, (20, 8, 8)).astype(np.uint16)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(20) % 2)
    with pytest.raises(ValueError, match="is uint16 from .*data.bits says how many bits are used, such as 12"):
        data.load(str(tmp_path / "x.npz"), "train")
    parts = [data.load(str(tmp_path / "x.npz"), part, bits=12).images for part in ("train", "test")]
    read = {image.numpy().tobytes() for part in parts for image in part[:, 0]}
    assert read == {np.rint(image * (255 / 4095)).astype(np.uint8).tobytes() for image in images}


def break_one(parted):
    (parted / "train" / "a" / "0.png").write_bytes(b"GIF89a")
    (parted / "test" / "b" / "1.png").write_bytes(b"")


def test_broken_images_are_left_out_only_on_demand(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    parted = make_parted(tmp_path)
    break_one(parted)
    with pytest.raises(ValueError, match=r"2 of 10 images .*Repair or remove them, or leave them out: --data.skip-br"):
        data.load(str(parted), "train")
    for stream in (False, True):
        splits = [data.load(str(parted), part, stream=stream, skip_broken=True) for part in ("train", "test")]
        assert [len(split) for split in splits] == [5, 3]
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == lines[1] and "2 of 10 images of" in lines[0] and "are skipped: a/0.png (" in lines[0]
        assert "b/1.png (empty)." in lines[0]
    for file in (parted / "test" / "b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="class 'b' has no images in test"):
        data.load(str(parted), "test", skip_broken=True)


def test_the_division_does_not_depend_on_what_is_broken(tmp_path):
    for i in range(20):
        for label in "ab":
            save(tmp_path / "flat" / label / f"{i}.png")
    before = {bytes(x.numpy()) for x in data.load(str(tmp_path / "flat"), "test").images}
    (tmp_path / "flat" / "a" / "broken.png").write_bytes(b"x")
    after = data.load(str(tmp_path / "flat"), "test", skip_broken=True)
    assert {bytes(x.numpy()) for x in after.images} == before


def test_columns_of_a_table(tmp_path):
    parted = make_parted(tmp_path)
    rows = ["Bild,klasse,path,split"] + [
        f"{part}/{c}/{i}.png,{c},nothing,{part}" for part, n in (("train", 3), ("test", 2)) for c in "ab"
        for i in range(n)]  # fmt: skip
    (parted / "x.csv").write_text("\n".join(rows))
    reference, named = str(parted / "x.csv"), {"image_column": "Bild", "label_column": "klasse"}
    with pytest.raises(ValueError, match="it begins with: bild, klasse, path, split. Name others: data.image_column"):
        data.load(reference, "train")
    assert data.load(reference, "train", **named).fingerprint() == data.load(str(parted), "train").fingerprint()
    with pytest.raises(ValueError, match=r"has no column 'bild' \(data.image_column\); it has: Bild, klasse"):
        data.load(reference, "train", image_column="bild", label_column="klasse")


def test_columns_of_parquet(tmp_path):
    images = pixels(6, 8, 8, 3)
    cells = [png(image) for image in images]
    for part in ("train", "test"):
        table = pyarrow.table({"photo": cells, "mask": cells, "kind": ["a", "b"] * 3})
        write_table(table, tmp_path / f"{part}.parquet")
    with pytest.raises(ValueError, match="it has: photo, mask, kind. Name others: data.image_column, data.label_col"):
        data.load(str(tmp_path), "train")
    split = data.load(str(tmp_path), "test", image_column="photo", label_column="kind")
    assert split.classes == ("a", "b") and same(split, images, [0, 1] * 3)
    with pytest.raises(ValueError, match="must have the columns image"):
        data.load(str(tmp_path), "test", image_column="kind", label_column="photo")


def test_arrays_of_other_names(tmp_path):
    x, y = pixels(10, 8, 8, 3), np.arange(10) % 2
    np.savez(tmp_path / "x.npz", X=x, y=y, X_dev=x[:4], y_dev=y[:4], X_train=x, y_tr=y, X_test=x[4:], y_test=y[4:],
             T_train=y, T_dev=y[:4], T_test=y[4:])
    reference = str(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"or name them: data.image_column, data.label_column \(x_\{split\} for sev"):
        data.load(reference, "train")
    alone = [data.load(reference, part, image_column="X", label_column="y") for part in ("train", "test")]
    assert [len(split) for split in alone] == [8, 2]
    named = {"image_column": "X_{split}", "label_column": "T_{split}", "validation": "dev"}
    assert same(data.load(reference, "test", **named), x[4:], y[4:])
    assert same(data.load(reference, "val", **named), x[:4], y[:4])


@pytest.mark.parametrize("folder", ["val", "validation", "dev"])
def test_a_validation_part_of_ones_own(folder, tmp_path):
    parted = make_parted(tmp_path)
    for label in "ab":
        for i in range(3):
            save(parted / folder / label / f"{i}.png")
    files = sorted((parted / folder).rglob("*.png"))
    split = data.load(str(parted), "val", validation=folder)
    expected = [np.asarray(Image.open(file)) for file in files]
    assert same(split, expected, [file.parent.name == "b" for file in files]) and split.name.endswith("/val")
    recipe = short("pgd_at").replace(data=Data(str(parted), validation=folder), batch_size=2, epochs=1)
    run = distill(recipe, tmp_path / "run", accelerator="cpu")
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert len(rows) == 1 and run.recipe.data.validation == folder


@pytest.mark.parametrize(("remove", "message"), [
    ("val", "Unknown split 'val' of .*Without a part val of its own, give data.validation as a fraction"),
    ("test", "has no test part, so its part val is the test split; give data.validation as a fraction"),
])  # fmt: skip
def test_no_validation_part(remove, message, tmp_path):
    parted = make_parted(tmp_path)
    save(parted / "val" / "a" / "0.png")
    save(parted / "val" / "b" / "0.png")
    (parted / remove).rename(tmp_path / "away")
    with pytest.raises(ValueError, match=message):
        data.load(str(parted), "val")


@pytest.mark.parametrize("option", [
    {"bits": 12}, {"skip_broken": True}, {"image_column": "x"}, {"label_column": "x"}, {"validation": "val"},
])  # fmt: skip
def test_they_are_for_ones_own_images(option):
    with pytest.raises(ValueError, match=rf"data.{next(iter(option))} \(.*\) is for your own images, and digits is"):
        data.load("digits", "train", **option)


def test_they_are_fields_of_a_recipe(tmp_path):
    text = "data: {name: x.npz, bits: 12, skip_broken: true, image_column: a, label_column: b, validation: dev}"
    from advdistill import Recipe

    found = Recipe.from_yaml(text).data
    assert found.reading == {"bits": 12, "skip_broken": True, "image_column": "a", "label_column": "b",
                             "validation": "dev"}
    assert Recipe.from_yaml(Recipe.from_yaml(text).to_yaml()).data == found
    assert Recipe.from_yaml("data: {validation: 0.2}").data.validation == 0.2
    with pytest.raises(ValueError, match="data.bits must lie between 9 and 16, got 8"):
        Data("x", bits=8)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A dataset repository on the hub whose snapshot is `tmp_path`; returns the list of requested downloads."""
    asked = []

    def snapshot_download(name, repo_type, allow_patterns):
        asked.append((name, repo_type, allow_patterns))
        if name != "me/mine":
            raise ConnectionError("no route to the hub")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(datasets, "load_dataset", None)
    return asked


def test_a_file_or_a_folder_of_the_hub(tmp_path, repository):
    parted, x, y = make_parted(tmp_path), pixels(10, 8, 8, 3), np.arange(10) % 2
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    split = data.load("hf:me/mine/x.npz", "test")
    assert same(split, x, y) and split.name == "hf:me/mine/x.npz/test"
    assert data.load("hf:me/mine/parted", "train").fingerprint() == data.load(str(parted), "train").fingerprint()
    assert repository == [("me/mine", "dataset", ["x.npz", "x.npz/*"]), ("me/mine", "dataset", ["parted", "parted/*"])]
    with pytest.raises(FileNotFoundError, match="The repository me/mine has no file or folder y.npz"):
        data.load("hf:me/mine/y.npz", "test")
    with pytest.raises(FileNotFoundError, match="has no file or folder ../x.npz"):
        data.load("hf:me/mine/../x.npz", "test")
    with pytest.raises(ConnectionError, match="hf:you/x/a.npz cannot be fetched: no route .*run: hf download you/x"):
        data.load("hf:you/x/a.npz", "test")


def test_on_the_command_line(tmp_path):
    home = deep(tmp_path / "dark", 4095, ("train", "test", "dev"))
    done = advdistill("train", "digits.pgd_at", "--data.name", home, "--data.bits", "12", "--data.validation", "dev",
                      "--data.augment", "none", "--epochs", "1", "--batch-size", "4", "--suite", "clean", "--out",
                      tmp_path / "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "seem to use" not in done.stderr  # nor by the evaluation, which reads images as the run did
