"""Training batches: order, augmentation, shares of several processes."""

import torch

from advdistill.data import Split
from advdistill.data.batches import Augmentation, Batches

N = 23
SPLIT = Split(
    torch.arange(N, dtype=torch.uint8).view(N, 1, 1, 1).expand(N, 1, 3, 3), torch.arange(N) % 2, ("a", "b"), "t/train"
)  # the pixels of an image are its index


def places(batches, epoch):
    return [(255 * share.x[:, 0, 0, 0]).round().int().tolist() for share in batches.epoch(epoch)]


def test_every_epoch_has_all_images_once_in_an_order_of_its_own():
    batches = Batches(SPLIT, 5)
    first, second = (sum(places(batches, epoch), []) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second and first != sorted(first)
    assert sum(places(Batches(SPLIT, 5), 1), []) == second
    assert sum(places(Batches(SPLIT, 5, seed=1), 1), []) != second


def test_labels_stay_with_their_images_and_a_single_image_is_left_out():
    shares = list(Batches(SPLIT, 11).epoch(0))  # 11, 11 and 1; batch-norm cannot normalise one image
    assert [share.total for share in shares] == [11, 11]
    for share in shares:
        assert torch.equal((255 * share.x[:, 0, 0, 0]).round().long() % 2, share.y)


def test_processes_share_every_image_of_a_batch():
    whole, one, other = (places(Batches(SPLIT, 7, rank=r, world=w), 0) for r, w in ((0, 1), (0, 2), (1, 2)))
    assert [len(part) for part in whole] == [7, 7, 7, 2]
    whole = whole[:3]  # the last two are left out: each process would have only one image
    assert [len(part) for part in one] == [4, 4, 4] and [len(part) for part in other] == [3, 3, 3]
    assert [a + b for a, b in zip(one, other, strict=True)] == whole


def test_every_epoch_crops_and_flips_anew():
    first, again, second, other = (
        Augmentation.draw("crop_flip", 1000, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first.corners, again.corners) and torch.equal(first.flips, again.flips)
    for drawn in (second, other):  # two independent draws agree on one corner in 81, on one flip in two
        assert (first.corners == drawn.corners).all(1).sum() < 40
        assert 400 < (first.flips == drawn.flips).sum() < 600
    assert first.corners.min() == 0 and first.corners.max() == 8


def test_a_crop_and_a_flip_by_hand():
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3).repeat(2, 1, 1, 1)
    made = Augmentation(torch.tensor([[9, 9], [0, 2], [1, 0]]), torch.tensor([False, False, True]), pad=1)
    shifted, mirrored = made(image, torch.tensor([1, 2]))[:, 0]
    assert shifted.tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]  # begins a row above the image, a column inside it
    assert mirrored.tolist() == [[2, 1, 0], [5, 4, 0], [8, 7, 0]]
    assert torch.equal(Augmentation.draw("none", 3, 0, 0)(image, torch.tensor([1, 2])), image)
