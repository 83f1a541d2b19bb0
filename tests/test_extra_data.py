"""Generated images in training batches, `data.extra`."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from children import together
from conftest import Tiny
from in_processes import main
from training import assert_same_path, died_before, differences, four, quick, quick_data, short, state_of

from advdistill import Data, Run, data
from advdistill.data.batches import Batches
from advdistill.data.extra import open_extra
from advdistill.data.similar import similar_to_test
from advdistill.data.with_extra import MixedBatches, WithExtra
from advdistill.models.checkpoint import provenance
from advdistill.results.selection import Selection
from advdistill.train.given import near_test, training_data

CLASSES = ("a", "b", "c", "d")


def npz(path: Path, count: int = 50, labels: bool = True, save=np.savez, shift: int = 0, **arrays) -> str:
    """Write images `[N, 4, 4, 1]` whose first pixel is their index plus `shift`, and labels index mod 4."""
    image = np.random.RandomState(shift).randint(256, size=(count, 4, 4, 1)).astype(np.uint8)
    image[:, 0, 0, 0] = np.arange(count) + shift
    given = {"image": image} | ({"label": np.arange(count) % 4} if labels else {})
    save(path, **{name: value for name, value in (given | arrays).items() if value is not None})
    return str(path)


def mixed(files, fraction=0.7, batch=10, **options) -> MixedBatches:
    split = quick_data()
    extra = open_extra(files, split.shape, CLASSES)
    with_extra = WithExtra(split.images, split.labels, split.classes, split.name, extra=extra, fraction=fraction)
    return MixedBatches(with_extra, batch, **options)


def test_rows_of_several_files_are_read_where_they_are(tmp_path):
    files = [npz(tmp_path / "a.npz", 30), npz(tmp_path / "b.npz", 20, shift=30)]
    extra = open_extra(files, (1, 4, 4), CLASSES)
    index = torch.tensor([49, 0, 30, 29, 7])
    whole = np.concatenate([np.load(file)["image"] for file in files]).transpose(0, 3, 1, 2)
    assert torch.equal(extra.read(index), torch.from_numpy(whole)[index]) and len(extra) == 50
    assert extra.labels.tolist() == [*(np.arange(30) % 4), *(np.arange(20) % 4)]
    again, reversed_ = (open_extra(given, (1, 4, 4), CLASSES) for given in (files, files[::-1]))
    assert extra.digest == again.digest != reversed_.digest
    assert open_extra(files[:1], (1, 4, 4), CLASSES).content != extra.content


def test_a_compressed_file_is_written_once_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    plain, packed = npz(tmp_path / "a.npz"), npz(tmp_path / "b.npz", save=np.savez_compressed)
    one, other = (open_extra([file], (1, 4, 4), CLASSES) for file in (plain, packed))
    assert torch.equal(one.read(torch.arange(50)), other.read(torch.arange(50)))
    (cached,) = (tmp_path / "cache" / "extra").iterdir()
    before = cached.stat().st_ino
    open_extra([packed], (1, 4, 4), CLASSES)
    assert cached.stat().st_ino == before and one.digest == other.digest


def test_each_batch_has_exactly_its_share_and_each_pass_every_image_once(tmp_path):
    batches = mixed([npz(tmp_path / "a.npz")])
    assert len(batches) == 8  # 80 real images in batches of 10
    found = [share for epoch in range(8) for share in batches.epoch(epoch)]
    places = torch.stack([share.index for share in found])
    assert ((places >= 80).sum(1) == 7).all() and all(share.total == 10 for share in found)
    for drawn, n in ((places[places < 80], 80), (places[places >= 80] - 80, 50)):
        assert set(drawn.bincount(minlength=n).tolist()) == {len(drawn) // n, len(drawn) // n + 1}
    assert len({tuple((row >= 80).tolist()) for row in places}) > 10  # shuffled
    real = quick_data()
    for share in found[:8]:
        for x, y, place in zip(share.x, share.y, share.index.tolist(), strict=True):
            if place >= 80:
                assert round(255 * x[0, 0, 0].item()) == place - 80 and y == (place - 80) % 4
            else:
                assert torch.equal(x, real.images[place] / 255) and y == real.labels[place]


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_batches_are_a_function_of_epoch_and_step_for_any_number_of_processes(tmp_path, augment):
    files = [npz(tmp_path / "a.npz")]
    options = {"fraction": 0.5, "batch": 12, "augment": augment}
    whole = list(mixed(files, **options).epoch(3))
    later = list(mixed(files, **options).epoch(3, skip=4))
    parts = [list(mixed(files, **options, rank=rank, world=2).epoch(3)) for rank in (0, 1)]
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(whole[4:], later, strict=True))
    for one, *both in zip(whole, *parts, strict=True):
        assert torch.equal(one.x, torch.cat([part.x for part in both]))
        assert torch.equal(one.y, torch.cat([part.y for part in both])) and both[1].start == 6


def test_real_images_are_augmented_as_without_generated_ones(tmp_path):
    plain = {}
    for share in Batches(quick_data(), 10, "crop_flip").epoch(0):
        plain |= dict(zip(share.index.tolist(), share.x, strict=True))
    for share in mixed([npz(tmp_path / "a.npz")], 0.3, augment="crop_flip").epoch(0):
        for place, x in zip(share.index.tolist(), share.x, strict=True):
            assert place >= 80 or torch.equal(x, plain[place])


RUN = {"epochs": 2, "batch_size": 20}


def go(folder, file, method="pgd_at", **changes) -> Run:
    source = Data("random", extra=(str(file),), extra_fraction=0.7)
    return quick(folder, four(Tiny), method, data=source, **RUN | changes)


def test_a_run_resumes_bit_for_bit_and_on_no_other_extra_data(tmp_path, monkeypatch):
    file = Path(npz(tmp_path / "a.npz"))
    whole = go(tmp_path / "whole", file)
    died_before(monkeypatch, 5, lambda: go(tmp_path / "died", file))
    file.rename(tmp_path / "kept.npz")
    npz(file, shift=1)
    with pytest.raises(ValueError, match=r"began with other data \(extra\)\. "):
        go(tmp_path / "died", file)
    (tmp_path / "kept.npz").rename(file)
    died = go(tmp_path / "died", file)
    assert differences(state_of(whole), state_of(died)) == []
    digests = state_of(whole)["inputs"]["digests"]
    said = Selection.from_header(provenance(whole.best))
    assert said.extra == f"50 generated images of a.npz ({digests['data.extra'][:12]}), 70% of each batch"
    assert f"; trained on {said.extra} as well" in str(said)


def test_two_processes_follow_the_path_of_one(tmp_path):
    file = npz(tmp_path / "a.npz")
    runs = {"extra": {"method": "rslad", "data": {"extra": [file], "extra_fraction": 0.5}}}
    runs |= {"mixed": {"method": "pgd_at", "data": {"mixup": 1.0, "cutmix": 1.0, "augment": "idbh"}}}
    for done in together(2, lambda: main(tmp_path / "two", 2, runs)):
        assert done.returncode == 0, done.stderr
    main(tmp_path / "one", 1, deepcopy(runs))
    for name in runs:
        assert_same_path(Run(tmp_path / "one" / name), Run(tmp_path / "two" / name))


def test_without_labels_only_methods_that_take_none(tmp_path):
    file = npz(tmp_path / "a.npz", labels=False)
    run = go(tmp_path / "rslad", file, "rslad", epochs=1)
    assert "50 generated images without labels of a.npz" in run.chosen
    said = "uses labels, and the generated images of data.extra have none. Give files with 'label', or a method whose"
    with pytest.raises(ValueError, match=f"^PGDAT {said}"):
        go(tmp_path / "pgd_at", file)
    with pytest.raises(ValueError, match=r"^label_mixing \(0.1\) uses labels, and the generated images"):
        go(tmp_path / "mixing", file, "rslad", label_mixing=0.1)


def test_images_of_the_test_split_are_found(tmp_path):
    test, train = data.load("digits", "test"), data.load("digits", "train").first(100)
    images = torch.cat([train.images, test.images[7:9] // 2 * 2]).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "a.npz", image=images)
    extra = open_extra([str(tmp_path / "a.npz")], (1, 8, 8), test.classes)
    found = similar_to_test(extra, test)
    assert (found.places, found.count) == ((100, 101), 2) and similar_to_test(extra, test, 100).count == 0
    assert "2 of 102 generated images are nearly images of digits/test (at most 0.02 apart" in str(found)
    source = Data("digits", extra=(str(tmp_path / "a.npz"),), extra_fraction=0.5, train_images=40)
    recipe = short("rslad", data=source)
    assert near_test(recipe, training_data(recipe, None, None, None)[1]) == found
    assert near_test(recipe, train) is None


def array(*shape, dtype="uint8"):
    return np.zeros(shape, dtype)


BAD = {
    "no image": ({"image": None, "images": array(3, 4, 4, 1)}, r"has no array 'image'; it has label, images."),
    "floats": ({"image": array(50, 4, 4, 1, dtype="float32")}, r"'image' must be uint8, pixels 0..255, got float32 \["),
    "another size": ({"image": array(50, 5, 4, 1)}, r"must be \[N, 4, 4, 1\], as the images"),
    "channels first": ({"image": array(50, 1, 4, 4)}, r"Its channels come first: write image.transp"),
    "none": ({"image": array(0, 4, 4, 1), "label": array(0)}, r"'image' of uint8 \[0, 4, 4, 1\] has no images"),
    "labels outside": ({"label": np.arange(50)}, r"labels must lie in 0..3, the classes of the data; it has 4"),
    "labels missing": ({"label": np.arange(49)}, r"must be integers \[50\], one for each image, got int64 \[49\]"),
    "labels as floats": ({"label": np.zeros(50)}, r"'label' must be integers \[50\], one for each image, got float64"),
    "objects": ({"image": np.array([{}], object)}, r"'image' must be uint8, pixels 0..255, got object \[1\]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_of_another_form_are_refused(tmp_path, kind):
    arrays, said = BAD[kind]
    with pytest.raises(ValueError, match=said):
        open_extra([npz(tmp_path / "a.npz", **arrays)], (1, 4, 4), CLASSES)


def test_a_compressed_file_is_blamed_for_its_own_faults_only(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (300, 4, 4, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "whole.npz", image=images)
    damaged = bytearray((tmp_path / "whole.npz").read_bytes())
    begin = 30 + len("image.npy") + int.from_bytes(damaged[28:30], "little")
    damaged[begin : begin + 20] = b"\xff" * 20  # a block type that does not exist
    (tmp_path / "damaged.npz").write_bytes(damaged)
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="damaged.npz is not an .npz that can be read .Error -3 while decompressing"):
        open_extra([str(tmp_path / "damaged.npz")], (1, 4, 4), CLASSES)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADVDISTILL_DATA", str(tmp_path / "file"))
    with pytest.raises(OSError, match="^Cannot write to .*file/extra: Not a directory; name a writable folder"):
        open_extra([str(tmp_path / "whole.npz")], (1, 4, 4), CLASSES)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "is empty. Generated images are an .npz with 'image', uint8"),
    (b"\x93NUMPY", "is not an .npz that can be read"),
    (b"PK\x03\x04 and no more", "is not an .npz that can be read"),
])  # fmt: skip
def test_what_is_no_npz_is_refused(tmp_path, content, said):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        open_extra([str(tmp_path / "a.npz")], (1, 4, 4), CLASSES)
    with pytest.raises(FileNotFoundError, match="There is no file .*b.npz"):
        open_extra([str(tmp_path / "b.npz")], (1, 4, 4), CLASSES)


def test_a_fraction_outside_its_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data.extra_fraction must lie between 0 and 1, got 1.2"):
        Data("digits", extra=("a.npz",), extra_fraction=1.2)
    with pytest.raises(ValueError, match="data.extra and data.extra_fraction are given together"):
        Data("digits", extra=("a.npz",))
    with pytest.raises(ValueError, match=r"data.extra_fraction \(0.01\) of batch_size 10 is 0 images; each"):
        mixed([npz(tmp_path / "a.npz")], 0.01)
