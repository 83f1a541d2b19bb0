"""The user's own images in tables and arrays (CSV, npz, parquet, Hugging Face): valid, of the wrong form, damaged."""

import hashlib
import shutil
import sys
import zipfile

import datasets
import huggingface_hub
import numpy as np
import pytest
from pictures import make_parted, parquet, pixels, png, same
from PIL import Image

from advdistill import data


@pytest.fixture
def parted(tmp_path):
    return make_parted(tmp_path)


X, Y = pixels(10, 8, 9, 3), np.arange(10) % 2 * 5


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_beside_its_images(parted, separator):
    rows = [("label", "file_name", "Split"),
            ("7", "train/a/0.png", "train"), ("30", "train/b/0.png", "training"),
            ("30", "test/a/0.png", "test"), ("7", "test/b/0.png", "test"),
            ("7", "test/a/1.png", "validation")]  # fmt: skip
    path = parted / "labels.csv"
    path.write_text("\ufeff" + "\r\n".join(separator.join(row) for row in rows) + "\r\n\r\n", encoding="utf-8")
    split = data.load(str(path), "test")
    assert split.classes == ("7", "30")
    assert same(split, [np.asarray(Image.open(parted / f"test/{name}/0.png")) for name in "ab"], [1, 0])
    path.rename(parted.parent / "moved.csv")
    with pytest.raises(ValueError, match=r"4 of 4 .*train/b/0.png \(no such file\)"):
        data.load(f"csv:{parted.parent}/moved.csv", "train")
    assert len(data.load(f"csv:{parted.parent}/moved.csv", "train", parted)) == 2


@pytest.mark.parametrize(("text", "message"), [
    ("path,label\n../../etc/passwd,a\nb,b", "line 2: '../../etc/passwd' leads out of .* --data.folder FOLDER"),
    ("path,label\n/etc/passwd,a\nb,b", "line 2: '/etc/passwd' leads out of"),
    ("path,label\na.png,\n", "line 2: expected a path and a label, got \\['a.png', ''\\]"),
    ("path,label,split\na.png,a,dev\n", "line 2: split is 'dev'; expected train, test or val"),
    ("name,kind\na.png,a\n", "must begin with the columns path, label .* begins with: name, kind"),
    ("", "begins with: nothing"),
    ("path,label\n", "has no part called train, only nothing"),
    ("path,label\na.png,a\n", "has the classes a; expected two or more"),
    ("path,label\na.png,a\nb.png,b\n", "class 'a' has 1 different image"),
    ("path,label\n" + "x" * 200_000 + ",a", "is not a table of text: field larger"),
    (b"path,label\n\xff\xfe,a", "is not a table of text: 'utf-8' codec"),
    (b"path,label\na\x00.png,a\nb.png,b", "."),
])  # fmt: skip
def test_tables_of_another_form(tmp_path, text, message):
    (tmp_path / "x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "x.csv"), "train")


@pytest.mark.parametrize("arrays", [
    {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y},
    {"x_train": X.transpose(0, 3, 1, 2), "y_train": Y[:, None], "x_test": X, "y_test": Y.astype(np.uint8)},
    {"train_images": X, "train_labels": Y, "val_images": X, "val_labels": Y},
    {"images_train": np.float32(X / 255), "labels_train": Y, "images_test": X / 255, "labels_test": Y.astype(str)},
])  # fmt: skip
def test_arrays(tmp_path, arrays):
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    for split in ("train", "test"):
        loaded = data.load(str(tmp_path / "x.npz"), split)
        assert loaded.classes == ("0", "5") and same(loaded, X, Y // 5)


def test_arrays_without_a_test_part(tmp_path):
    images = pixels(20, 8, 8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(20) % 2)
    train, test = (data.load(str(tmp_path / "x.npz"), split) for split in ("train", "test"))
    assert test.labels.bincount().tolist() == [2, 2] and train.labels.bincount().tolist() == [8, 8]
    digests = {bytes(image): hashlib.sha256(image).hexdigest() for image in images[::2]}
    first = sorted(digests, key=digests.get)[:2]
    assert {bytes(image.numpy()) for image in test.images[test.labels == 0]} == set(first)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"x_train": X.astype(np.float32), "y_train": Y}, "x_train is float32 from 0 to 255; expected uint8 from 0"),
    ({"x_train": np.full((10, 8, 8), np.nan), "y_train": Y}, "x_train is float64"),
    ({"x_train": X.astype(np.int64), "y_train": Y}, "x_train is int64 from"),
    ({"x_train": X[..., :2], "y_train": Y}, "has not 1, 3 or 4 channels"),
    ({"x_train": X[:, :3], "y_train": Y}, r"may be \[N, H, W, C\] or"),
    ({"x_train": X[0, 0], "y_train": Y}, r"has the shape \[9, 3\]"),
    ({"x_train": X, "y_train": Y[:9]}, "x_train has 10 images and y_train 9 labels"),
    ({"x_train": X, "y_train": Y / 2}, "y_train is float64"),
    ({"x_train": X, "y_train": np.eye(10, dtype=int)}, r"y_train is int64 \[10, 10\]; expected whole numbers or text"),
    ({"x": X, "y": Y}, "it has x, y; expected x_train, y_train, x_test and y_test"),
    ({"x_train": X, "y_train": np.array([object()] * 10)}, "allow_pickle=False"),
])  # fmt: skip
def test_arrays_of_another_form(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "x.npz"), "train")


def test_an_array_larger_than_the_memory(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000000000, 32, 32, 3), }"
    member = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", member)
        archive.writestr("labels.npy", member)
    with pytest.raises(ValueError, match="images needs 27648.0 GB, and .* are free"):
        data.load(str(tmp_path / "x.npz"), "train")


def test_damaged_files_of_every_kind(tmp_path):
    """Files cut at many places or with changed bytes give images or a ValueError, never another error."""
    np.savez_compressed(tmp_path / "x.npz", images=pixels(8, 8, 8), labels=np.arange(8) % 2)
    parquet(tmp_path / "x.parquet", [png(image) for image in pixels(8, 8, 8)], [0, 1] * 4)
    for name in ("x.npz", "x.parquet"):
        whole = (tmp_path / name).read_bytes()
        for seed in range(40):
            random = np.random.RandomState(seed)
            broken = bytearray(whole[: random.randint(len(whole))] if seed % 2 else whole)
            for _ in range(3 * (seed % 2 == 0)):
                broken[random.randint(len(broken))] ^= 1 << random.randint(8)
            (tmp_path / f"broken-{name}").write_bytes(broken)
            try:
                data.load(str(tmp_path / f"broken-{name}"), "train")
            except ValueError as error:
                assert str(error)


@pytest.mark.parametrize("plain", [True, False])
def test_parquet(tmp_path, plain):
    images = pixels(6, 8, 8, 3)
    for at, file in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-0")):
        part = [png(image) for image in images[2 * at : 2 * at + 2]]
        parquet(tmp_path / "data" / f"{file}.parquet", part, [1, 0], ["zebra", "ant"], plain)
    train, test = (data.load(str(tmp_path), split) for split in ("train", "test"))
    assert train.classes == ("zebra", "ant")  # the data's own order, not the alphabet's
    assert same(train, images[:4], [1, 0, 1, 0]) and same(test, images[4:], [1, 0])


@pytest.mark.parametrize(("labels", "names", "message"), [
    ([0, 2], ["a", "b"], "has a label 2, and names for 0 to 1"),
    ([0, None], None, "has a label None; expected whole numbers or text"),
    ([0.5, 1.5], None, "has a label 0.5"),
    ([0, 1], ["a\n", "b"], "cannot be the name of a class"),
    ([0, 1], ["a", "a"], "has the classes a, a; expected two or more, distinct"),
])  # fmt: skip
def test_parquet_of_another_form(tmp_path, labels, names, message):
    parquet(tmp_path / "x.parquet", [png(image) for image in pixels(2, 8, 8)], labels, names)
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "x.parquet"), "train")


def test_saved_by_hugging_face(tmp_path):
    images, kinds = pixels(6, 8, 8, 3), datasets.ClassLabel(names=["z", "b"])
    features = datasets.Features({"image": datasets.Image(), "label": kinds})
    parts = {}
    for name, part in (("train", images[:3]), ("test", images[3:])):
        columns = {"image": [Image.fromarray(image) for image in part], "label": [0, 1, 1]}
        parts[name] = datasets.Dataset.from_dict(columns, features)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    for reference in (f"{tmp_path}/saved", f"hf:{tmp_path}/saved"):
        test = data.load(reference, "test")
        assert test.classes == ("z", "b") and same(test, images[3:], [0, 1, 1])
    (tmp_path / "saved" / "test" / "state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}')
    with pytest.raises(ValueError, match="is not a whole table: .*No such file"):
        data.load(f"{tmp_path}/saved", "test")


def test_the_hub(monkeypatch):
    images, kinds = pixels(4, 8, 8, 3), datasets.ClassLabel(names=["z", "b"])
    features = datasets.Features({"picture": datasets.Image(), "label": kinds})
    columns = {"picture": [Image.fromarray(image) for image in images], "label": [0, 0, 1, 1]}
    content = datasets.Dataset.from_dict(columns, features)
    found = datasets.DatasetDict({"train": content, "validation": content, "unlabelled": content})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: found if name == "me/mine" else None)
    split = data.load("hf:me/mine", "test")
    assert (split.classes, split.name) == (("z", "b"), "hf:me/mine/test") and same(split, images, [0, 0, 1, 1])


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The package datasets without a network, with its own cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for constants in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_the_hub_out_of_reach(offline):
    with pytest.raises(ConnectionError, match=r"^hf:me/mine cannot be fetched: Couldn't reach .*me/mine.* that folder"):
        data.load("hf:me/mine", "train")


def test_a_repository_of_picture_files(offline, parted, monkeypatch):
    """As datasets reads a repository from the hub: the table names the picture files, which are in the cache."""
    with pytest.raises(ValueError, match=r"10 of 10 images of .* cannot be read: .*\(no bytes in the table\)"):
        data.load(f"hf:{parted}", "train")  # files elsewhere on this machine are not read
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(parted.parent))
    for part in ("train", "test"):
        split = data.load(f"hf:{parted}", part)
        files = sorted((parted / part).glob("*/*.png"))
        images = [np.asarray(Image.open(file)) for file in files]
        assert split.classes == ("a", "b") and same(split, images, [file.parent.name == "b" for file in files])


def pixels_of(file):
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", ["picture files", "png bytes"])
def test_a_part_of_ones_own_dataset_saved(offline, parted, kind, tmp_path):
    """The dataset is shuffled, cut in two, saved with its pictures, and read without the original files."""
    files = sorted((parted / "train").glob("*/*.png"))
    images = {pixels_of(file).tobytes(): int(file.parent.name == "b") for file in files}
    if kind == "picture files":
        content = datasets.load_dataset(str(parted))["train"]
    else:
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        columns = {"image": [Image.fromarray(pixels_of(file)) for file in files], "label": list(images.values())}
        content = datasets.Dataset.from_dict(columns, features)
    cut = content.train_test_split(2, seed=0, stratify_by_column="label")
    cut.save_to_disk(tmp_path / "saved")
    shutil.rmtree(parted)
    train, test = (data.load(f"{tmp_path}/saved", part) for part in ("train", "test"))
    assert (len(train.images), test.labels.sort().values.tolist(), train.classes) == (4, [0, 1], ("a", "b"))
    read = {}
    for split in (train, test):
        read |= {image.permute(1, 2, 0).contiguous().numpy().tobytes(): int(y)
                 for image, y in zip(split.images, split.labels, strict=True)}  # fmt: skip
    assert read == images


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "advdistill\[parquet\]"'):
        data.load(str(tmp_path / "x.parquet"), "train")
