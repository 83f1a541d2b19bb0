"""Tests that augmentations match values by hand and of Pillow, and give the same images in any batch and process."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.testing import assert_close
from training import quick_data

from advdistill import Data
from advdistill._internal.rng import uniforms
from advdistill.data import operations as op
from advdistill.data.augment import Augment, Augmenter, Kind
from advdistill.data.batches import Batches
from advdistill.data.mixing import mixed

IMAGES = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
X, PLACES = IMAGES / 255, torch.arange(40)
ONE = torch.ones(40)


def test_the_numbers_of_an_image_are_uniform_and_its_own():
    drawn = uniforms(3, "a", places=torch.arange(4000), count=5)
    assert torch.equal(uniforms(3, "a", places=torch.tensor([7, 3999]), count=5), drawn[[7, 3999]])
    assert torch.equal(uniforms(3, "a", places=torch.arange(4), count=2), drawn[:4, :2])
    assert not torch.equal(uniforms(4, "a", places=torch.arange(4), count=2), drawn[:4, :2])
    assert drawn.min() >= 0 and drawn.max() < 1
    assert_close(drawn.mean(0), torch.full((5,), 0.5).double(), atol=0.02, rtol=0)
    assert torch.corrcoef(torch.cat([drawn.T, drawn.roll(1, 0).T])).fill_diagonal_(0).abs().max() < 0.06


@pytest.mark.parametrize("kind", get_args(Kind))
def test_an_image_is_augmented_alike_in_any_batch_and_anew_in_each_epoch(kind):
    augment = Augment(kind, cutout=4)
    whole = Augmenter(augment, 30, 0, 2)(IMAGES, PLACES)  # the split has 30 images; the last ten come after them
    some = torch.tensor([31, 2, 17, 39])
    assert torch.equal(Augmenter(augment, 30, 0, 2)(IMAGES[some], some), whole[some])
    assert torch.equal(Augmenter(augment, 30, 0, 2)(X, PLACES), whole)
    assert whole.shape == X.shape and whole.dtype == torch.float32 and 0 <= whole.min() and whole.max() <= 1
    for other in (Augmenter(augment, 30, 0, 3), Augmenter(augment, 30, 1, 2)):
        assert not torch.equal(other(IMAGES, PLACES), whole)
    black = (whole == 0).all(1).flatten(1).sum(1)
    assert (black >= 4).all()  # a square of 4 around a corner has 2 x 2 pixels in the image
    grey = Augmenter(augment, 30, 0, 2)(IMAGES[:, :1], PLACES)
    assert grey.shape == (40, 1, 16, 16) and grey.isfinite().all()


def test_no_image_is_mirrored_where_flip_is_off():
    rows = torch.arange(16.0).expand(40, 3, 16, 16) / 16  # brighter to the right, as long as nothing is mirrored
    for kind in ("crop_flip", "crop_shift", "random_resized_crop"):
        steps = Augmenter(Augment(kind, flip=False), 40, 0, 0)(rows, PLACES)[..., 5:11].diff(dim=3)
        mirrored = Augmenter(Augment(kind), 40, 0, 0)(rows, PLACES)[..., 5:11].diff(dim=3)
        assert (steps >= -1e-6).all() and (mirrored < -1e-6).flatten(1).any(1).float().mean() > 0.2


def test_crop_shift_keeps_a_rectangle_and_moves_it():
    x = torch.arange(1.0, 10).view(1, 1, 3, 3)
    corner, place, size = (torch.tensor([pair]) for pair in ((1, 0), (0, 1), (2, 2)))
    assert op.move_rectangle(x, corner, place, size)[0, 0].tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    ones = Augmenter(Augment("crop_shift"), 40, 0, 0)(torch.ones(40, 1, 32, 32), PLACES)
    lost = [32 - ones[:, 0].amax(axis).sum(1) for axis in (1, 2)]
    assert (sum(lost) <= 10).all() and {int(n) for n in sum(lost)} >= set(range(9))  # 0 to 10 rows and columns in all


PILLOW = {
    "equalise": (lambda x: op.equalised(x), lambda image: ImageOps.equalize(image)),
    "autocontrast": (lambda x: op.autocontrast(x), lambda image: ImageOps.autocontrast(image)),
    "posterise": (lambda x: op.posterised(x, 3 * ONE), lambda image: ImageOps.posterize(image, 3)),
    "solarise": (lambda x: op.solarised(x, 100 / 255 * ONE), lambda image: ImageOps.solarize(image, 100)),
}
ENHANCED = {"brightness": ("Brightness", 1.4), "contrast": ("Contrast", 0.3), "saturation": ("Color", 1.9)}
PILLOW |= {
    name: (lambda x, n=name, f=factor: op.adjust(n, x, f * ONE),
           lambda image, n=of, f=factor: getattr(ImageEnhance, n)(image).enhance(f))  # fmt: skip
    for name, (of, factor) in (ENHANCED | {"sharpness": ("Sharpness", 0.1)}).items()
}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_are_pillows_up_to_its_rounding(name):
    ours, theirs = PILLOW[name]
    dark = IMAGES // 2 + 30
    for image, found in zip(dark[:5], 255 * ours(dark / 255)[:5], strict=True):
        wanted = np.asarray(theirs(Image.fromarray(image.permute(1, 2, 0).numpy()))).astype(float)
        assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() <= 1.6


def test_a_quarter_turn_and_a_shear_by_hand():
    turned = op.warped(X, op.rotation(90 * ONE))
    assert torch.equal(turned, X.rot90(1, (2, 3))) or torch.equal(turned, X.rot90(-1, (2, 3)))
    x = torch.arange(1.0, 10).view(1, 1, 3, 3)
    shear = torch.tensor([[[1.0, 1, 0], [0, 1, 0]]])  # a row below the centre is taken from a column further right
    assert op.warped(x, shear)[0, 0].tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 0]]


def test_a_resized_rectangle_by_hand():
    x = torch.tensor([[[[0.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]])
    made = op.resampled(x, torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 2.0]]))
    assert_close(made[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 0.75]))  # 1/4 pixel off the input's centres
    assert_close(op.resampled(X, torch.zeros(40, 2), torch.full((40, 2), 16.0)), X)


def test_images_and_labels_are_mixed_by_one_share():
    y = PLACES % 4
    for augment in (Augment(mixup=1.0), Augment(cutmix=1.0)):
        ones = torch.ones(40, 1, 1, 1) * PLACES[:, None, None, None]
        x, targets = mixed(ones.expand(40, 1, 16, 16), y, 4, augment, (0, 0, 0))
        assert_close(targets.sum(1), torch.ones(40))
        if augment.cutmix:
            own = (x == PLACES[:, None, None, None]).float().mean((1, 2, 3))
            shares = {round(v, 5) for v in own.tolist() if v < 1}
            label = targets[PLACES, y].tolist()
            assert len(shares) == 1 and all(round(share, 5) in (*shares, 1.0) for share in label)
        else:
            assert (x[:, 0, 0, 0] != PLACES).float().mean() > 0.9
        again = mixed(ones.expand(40, 1, 16, 16), y, 4, augment, (0, 0, 0))
        assert torch.equal(again[0], x) and not torch.equal(
            mixed(ones.expand(40, 1, 16, 16), y, 4, augment, (0, 0, 1))[0], x
        )


def test_processes_see_the_mixed_images_of_one():
    augment = Augment("shift", mixup=0.5, cutmix=1.0)
    whole, one, other = (list(Batches(quick_data(), 12, augment, rank=r, world=w).epoch(1)) for r, w in
                         ((0, 1), (0, 2), (1, 2)))  # fmt: skip
    for share, *parts in zip(whole, one, other, strict=True):
        for name in ("x", "y", "targets", "index"):
            assert torch.equal(getattr(share, name), torch.cat([getattr(part, name) for part in parts]))
        assert torch.equal(share.y, share.targets.argmax(1))
        halves = share.parts(2)
        assert torch.equal(torch.cat([part.targets for part in halves]), share.targets)


def test_fields_out_of_their_range_are_refused():
    with pytest.raises(ValueError, match="Unknown augmentation 'autoaugment'. Known: none, shift, crop_flip"):
        Batches(quick_data(), 12, "autoaugment").epoch(0).__next__()
    with pytest.raises(ValueError, match="data.mixup must lie between 0 and 512, got -1"):
        Data("digits", mixup=-1)
