"""Tests of splits and their held-out parts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advdistill.data import Split


def make(labels, classes=10):
    labels = torch.tensor(labels)
    images = torch.arange(len(labels) * 12).to(torch.uint8).reshape(-1, 3, 2, 2)
    return Split(images, labels, tuple(str(c) for c in range(classes)), "made/train")


def indices(part, whole):
    """Return the positions in `whole` of the images of `part`, which differ in their first pixels."""
    pixels = whole.images[:, 0, 0, 0].tolist()
    return [pixels.index(pixel) for pixel in part.images[:, 0, 0, 0].tolist()]


PIXELS, LABELS = torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            PIXELS.double(),
            LABELS,
            r"images must be torch.uint8 or torch.float32 \[N, C, H, W\], got torch.float64 \[2, 3, 2, 2\]",
        ),
        (PIXELS[:, 0], LABELS, r"images must be .* got torch.uint8 \[2, 2, 2\]"),
        (PIXELS, LABELS.float(), r"labels must be torch.int64 \[N\], got torch.float32 \[2\]"),
        (PIXELS, LABELS[:1], "2 images but 1 labels"),
    ],
)
def test_form_is_checked(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Split(images, labels, ("a", "b"), "made/train")


@pytest.mark.parametrize("wrong", [11, -1])
def test_labels_outside_the_classes_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.9; this split has {wrong} at index 3"):
        make([0, 1, 2, wrong])


def test_describes_itself():
    split = make([0, 1, 2, 1])
    assert (len(split), split.num_classes, split.shape) == (4, 10, (3, 2, 2))


@pytest.mark.parametrize("chosen", [[2, 0], torch.tensor([2, 0]), range(2, -1, -2)])
def test_take_keeps_images_and_labels_together(chosen):
    split = make([5, 6, 7])
    taken = split.take(chosen)
    assert taken.labels.tolist() == [7, 5]
    assert torch.equal(taken.images, split.images[[2, 0]])


def test_first():
    assert make([5, 6, 7]).first(2).labels.tolist() == [5, 6]


@pytest.mark.parametrize("n", [0, 4])
def test_first_refuses_what_is_not_there(n):
    with pytest.raises(ValueError, match=f"made/train has 3 images; the first {n} cannot be taken"):
        make([5, 6, 7]).first(n)


def test_fingerprint_depends_on_images_and_labels():
    split = make([0, 1, 2])
    assert split.fingerprint() == make([0, 1, 2]).fingerprint() and len(split.fingerprint()) == 12
    assert split.fingerprint() != make([0, 1, 3]).fingerprint()
    assert split.fingerprint() != Split(255 - split.images, split.labels, split.classes, "x").fingerprint()


sizes = st.lists(st.integers(2, 6), min_size=1, max_size=3)  # few enough images for distinct first pixels


@settings(deadline=None)
@given(sizes, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1), st.randoms())
def test_holdout_is_a_stratified_partition(sizes, fraction, seed, random):
    labels = [c for c, size in enumerate(sizes) for _ in range(size)]
    random.shuffle(labels)
    split = make(labels, classes=len(sizes))
    train, held = split.holdout(fraction, seed)

    assert sorted(indices(train, split) + indices(held, split)) == list(range(len(split)))
    assert indices(train, split) == sorted(indices(train, split))
    for part, share in ((train, 1 - fraction), (held, fraction)):
        counts = part.labels.bincount(minlength=len(sizes))
        assert counts.min() >= 1
        assert all(abs(count - share * size) < 1 for count, size in zip(counts.tolist(), sizes, strict=True))


def test_holdout_depends_on_the_seed_alone():
    split = make([0, 1] * 10, classes=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = split.holdout(0.3, seed=5)[1]
    torch.manual_seed(2)
    again = split.holdout(0.3, seed=5)[1]
    other = split.holdout(0.3, seed=6)[1]
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert indices(first, split) == indices(again, split) != indices(other, split)


def test_holdout_never_changes():
    split = make([0, 1] * 10, classes=2)
    assert indices(split.holdout(0.3, seed=0)[1], split) == [3, 4, 7, 8, 11, 16]


def test_holdout_says_where_it_comes_from():
    train, held = make([0, 0], classes=1).holdout(0.5, seed=0)
    assert (train.name, held.name) == ("made/train", "made/train (held out)")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 10])
def test_holdout_refuses_other_fractions(fraction):
    with pytest.raises(ValueError, match=f"must lie between 0 and 1, got {fraction}"):
        make([0, 0], classes=1).holdout(fraction, seed=0)


def test_holdout_refuses_a_class_that_is_too_small():
    with pytest.raises(ValueError, match=r"class '1' has 1 image\(s\); a held-out part needs at least 2"):
        make([0, 0, 1], classes=2).holdout(0.5, seed=0)
