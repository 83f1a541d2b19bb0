"""How the pixels of the user's own images are converted; broken images, and too many."""

import io
import os
import zlib

import numpy as np
import pytest
from pictures import make_parted, pixels, save
from PIL import Image

from advdistill import data
from advdistill.data.own import stack
from advdistill.data.own.pictures import Arrays, Encoded, Header, Unreadable


@pytest.fixture
def parted(tmp_path):
    return make_parted(tmp_path)


RGBA = np.array([[[255, 0, 0, 255], [0, 0, 0, 0]], [[0, 0, 0, 127], [9, 8, 7, 255]]], np.uint8)
ON_WHITE = [[[255, 0, 0], [255, 255, 255]], [[128, 128, 128], [9, 8, 7]]]


def stored(image, kind="png", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Encoded(["x"], lambda i: io.BytesIO(stream.getvalue()))


def test_transparent_is_white():
    encoded = stored(Image.fromarray(RGBA))
    assert encoded.pixels(0).tolist() == Arrays(RGBA[None], "x").pixels(0).tolist() == ON_WHITE
    assert encoded.header(0) == Arrays(RGBA[None], "x").header(0) == Header(2, 2, colour=True, alpha=True)
    grey = Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
    assert stored(grey).pixels(0).tolist() == [[10, 255]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    assert stored(palette, transparency=1).pixels(0).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_sixteen_bits_are_rounded_to_eight():
    image = Image.fromarray(np.array([[0, 128, 129, 257, 40_000, 65_535]], np.uint16))
    assert stored(image).pixels(0).tolist() == [[0, 0, 1, 1, 156, 255]]
    assert stored(image).header(0) == Header(1, 6, colour=False, alpha=False)
    with pytest.raises(Unreadable, match="32 bits"):
        stored(Image.fromarray(np.array([[0.5]], np.float32)), "tiff").pixels(0)


def test_other_modes():
    assert stored(Image.new("1", (3, 2), 1)).pixels(0).tolist() == [[255] * 3] * 2
    cmyk = stored(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "jpeg")
    assert cmyk.header(0).colour and cmyk.pixels(0).shape == (8, 8, 3) and cmyk.pixels(0).max() <= 2


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
def test_photos_stand_upright(kind):
    image = Image.fromarray(np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 16, 0)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = stored(image, kind, exif=exif)
    look, pixels = turned.header(0), turned.pixels(0)
    assert (look.height, look.width) == pixels.shape[:2] == (24, 16)
    assert pixels[0].max() < 40 < 200 < pixels[-1].min()


def test_any_coloured_image_makes_all_of_them_coloured(parted):
    before = data.load(str(parted), "train")
    for file in parted.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert data.load(str(parted), "train").shape == (1, 8, 8)
    save(parted / "test" / "a" / "0.png")
    split = data.load(str(parted), "train")
    assert split.shape == before.shape == (3, 8, 8) and (split.images[:, :1] == split.images).all()


def test_images_of_several_sizes_need_a_size(parted):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200  # the centre
    save(parted / "train" / "a" / "0.png", wide)
    message = r"have 2 sizes, 8 x 8 to 60 x 20 pixels. Give the side .* --data.size 64"
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=message):
            data.load(str(parted), split)
    split = data.load(str(parted), "train", size=8)
    assert split.shape == (3, 8, 8)
    (centre,) = [image for image in split.images if (image[:, 3, 3] == 200).all()]
    assert (centre.int() - 200).abs().max() <= 20  # bicubic looks beyond the edges
    untouched = np.asarray(Image.open(parted / "train" / "b" / "1.png")).transpose(2, 0, 1)
    assert any((image.numpy() == untouched).all() for image in split.images)


def test_resizing_is_that_of_the_shorter_side_and_a_crop(parted):
    image = pixels(40, 64, 3)
    whole = np.asarray(Image.fromarray(image).resize((16, 10), Image.Resampling.BICUBIC))
    assert np.array_equal(stack._resized(image, 10), whole[:, 3:13])


def test_unreadable_images_are_all_named(parted):
    whole = (parted / "train" / "a" / "0.png").read_bytes()
    (parted / "train" / "a" / "0.png").write_bytes(whole[:-40])
    (parted / "test" / "b" / "1.png").write_bytes(b"")
    (parted / "test" / "b" / "\x1b[31m.gif").write_bytes(b"GIF89a")
    os.mkfifo(parted / "test" / "a" / "pipe.png")
    for split in ("train", "test"):
        with pytest.raises(ValueError) as caught:
            data.load(str(parted), split)
        message = str(caught.value)
        assert message.startswith(f"4 of 12 images of {parted} cannot be read: ") and "\x1b" not in message
        for part in ("a/0.png (truncated)", "b/1.png (empty)", "a/pipe.png (not an ordinary file)", "[31m.gif (not a"):
            assert part in message


def test_pictures_that_unpack_to_too_many_pixels(parted):
    chunk = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (parted / "train" / "a" / "0.png").write_bytes(bomb + (parted / "train" / "a" / "1.png").read_bytes()[33:])
    with pytest.raises(ValueError, match=r"1 of 10 images .* a/0.png \(too many pixels\)"):
        data.load(str(parted), "train")
    save(parted / "train" / "a" / "0.png", np.zeros((8200, 8200), np.uint8))
    with pytest.raises(ValueError, match=r"a/0.png \(8200 x 8200 pixels are too many\)"):
        data.load(str(parted), "train", size=8)


def test_more_than_the_memory_holds(parted, monkeypatch):
    monkeypatch.setattr(stack, "free_memory", lambda: 6 * 64 * 3 * 2 - 1)
    with pytest.raises(ValueError, match=r"6 images of .* of 3 x 8 x 8 need 0.0 GB .*Take fewer images."):
        data.load(str(parted), "train")
    with pytest.raises(ValueError, match=r"of 3 x 16 x 16 need .* Give data.size, 9 or less."):
        monkeypatch.setattr(stack, "free_memory", lambda: 81 * 3 * 2 * 6)
        data.load(str(parted), "train", size=16)


def test_free_memory_is_that_of_this_machine():
    assert stack.free_memory() is None or stack.free_memory() > 2**20
