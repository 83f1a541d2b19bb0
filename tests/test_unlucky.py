"""Unusual checkpoints, data files, labels and arguments: each gives the right value or a one-sentence error."""

import numpy as np
import pytest
import torch
from training import taught

from advdistill import Linf, data, evaluate, models
from advdistill._internal.reading import parse_yaml
from advdistill.cli import main

pytest.importorskip("PIL.Image")
from PIL import Image  # noqa: E402  after the check

WEIGHTS = models.create("convnet-2", 10, 1).state_dict()
X, Y = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 10


def changed(change, only=lambda key, tensor: tensor.is_floating_point()):
    return {key: change(tensor.clone()) if only(key, tensor) else tensor for key, tensor in WEIGHTS.items()}


def one_nan(tensor):
    tensor.view(-1)[0] = torch.nan
    return tensor


CHECKPOINTS = {
    "nan everywhere": ("m.pt", changed(lambda tensor: tensor * torch.nan), "NaN or infinite, in conv1.weight: the"),
    "one nan": ("m.pt", changed(one_nan, lambda key, _: key == "linear.bias"), "NaN or infinite, in linear.bias"),
    "infinite variance": ("m.pt", changed(lambda v: v / 0, lambda key, _: "running_var" in key), "in bn1.running_var"),
    "a part": ("model-00001-of-00003.pt", dict(list(WEIGHTS.items())[:2]), "is part 1 of 3 of a checkpoint in several"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_are_refused_with_what_they_are(kind, tmp_path):
    name, content, sentence = CHECKPOINTS[kind]
    torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=sentence):
        models.load(tmp_path / name)


def test_names_of_weights_may_be_bytes(tmp_path):
    torch.save({key.encode(): tensor for key, tensor in WEIGHTS.items()}, tmp_path / "m.pt")
    found = models.load(tmp_path / "m.pt").state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in WEIGHTS.items())


@pytest.mark.parametrize(("options", "sentence"), [
    ("mean=127&std=60", r"mean must be in units of pixels in \[0, 1\], got 127; divide it by 255 if"),
    ("mean=nan&std=1", "mean must be in units of .*, got nan"),
    ("mean=0.5&std=inf", "std must be in units of .*, got inf"),
])  # fmt: skip
def test_a_normalisation_of_other_pixels(options, sentence, tmp_path):
    torch.save(WEIGHTS, tmp_path / "m.pt")
    with pytest.raises(ValueError, match=sentence):
        models.load(f"file:{tmp_path / 'm.pt'}?{options}")


@pytest.mark.parametrize("name", [3, None, b"a.pt", ["a.pt"], WEIGHTS])
def test_what_names_no_model_and_no_data(name):
    with pytest.raises(TypeError, match="A model is named by text or a path, such as 'runs/digits.rslad'; got "):
        models.load(name)
    with pytest.raises(TypeError, match="Data are named by text or a path, such as 'cifar10' or 'flowers'; got "):
        data.load(name, "test")


def test_an_address_of_the_web_is_no_file():
    with pytest.raises(ValueError, match="https://x.org/a.pt is a web address; download the file, and give its path"):
        models.load("https://x.org/a.pt")


def test_the_nearest_name_does_not_depend_on_capitals():
    with pytest.raises(ValueError, match="Unknown dataset 'CIFAR10'. Did you mean 'cifar10'"):
        data.load("CIFAR10", "test")
    with pytest.raises(ValueError, match="Unknown model 'ResNet18'. Did you mean 'resnet18'"):
        models.create("ResNet18")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of three pictures in each part."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            (place / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / part / name / f"{i}.png")
    return place


@pytest.mark.parametrize("ending", [".heic", ".HEIC", ".svg", ".avif", ".dng"])
def test_a_picture_of_a_form_that_is_not_read_is_not_left_out_without_a_word(pictures, ending):
    file = pictures / "train" / "a" / f"photo{ending}"
    file.write_bytes(b"\0\0\0\x18ftypheic")
    try:
        with pytest.raises(ValueError, match=rf"a/photo{ending} \({ending} is not read; convert it to PNG or JPEG\)"):
            data.load(str(pictures), "train")
        assert len(data.load(pictures, "train", skip_broken=True)) == 6  # a Path is accepted, too
    finally:
        file.unlink()


@pytest.mark.parametrize(("options", "sentence"), [
    ({"size": 0}, "data.size must be a whole number from 1 to 16384, got 0"), ({"size": -3}, "got -3"),
    ({"size": "8"}, "got '8'"), ({"size": 10**6}, "got 1000000"), ({"size": 8.5}, "got 8.5"),
    ({"bits": 99}, "data.bits must be a whole number from 9 to 16, got 99"), ({"bits": 0}, "got 0"),
])  # fmt: skip
def test_options_of_reading_out_of_their_range(pictures, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.load(str(pictures), "train", **options)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"n": 2.5}, "n must be a whole number of at least 1, got 2.5"), ({"n": 0}, "got 0"), ({"n": True}, "got True"),
    ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"), ({"batch_size": 2.5}, "got 2.5"),
    ({"batch_size": -1}, "got -1"), ({"seed": "a"}, "seed must be a whole number of at least 0, got 'a'"),
    ({"seed": -1}, "got -1"), ({"device": "gpu"}, "device must be such as 'cpu', 'cuda' or 'cuda:0', got 'gpu'"),
    ({"device": "cuda:99"}, r"device 'cuda:99' is not here: torch finds \d+ CUDA devices. Take device='cpu'"),
    ({"device": 3.5}, "device must be such as 'cpu'"),
])  # fmt: skip
def test_words_of_an_evaluation(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(taught(5), (X, Y), Linf(0.1), "clean", **options)


def test_numbers_of_numpy_are_numbers():
    numbers = {"n": np.int64(5), "batch_size": np.int32(3), "seed": np.int64(1)}
    assert evaluate(taught(5), (X, Y), Linf(0.1), "clean", **numbers)["clean"].n == 5


def test_images_in_a_list():
    with pytest.raises(TypeError, match=r"The images are a list.*give \(torch.stack\(images\), labels\)"):
        evaluate(taught(5), (list(X), Y), Linf(0.1), "clean")


def test_a_field_of_a_recipe_is_there_once():
    assert parse_yaml("a: {x: 1}\nb: {x: 2}\n", "r.yaml") == {"a": {"x": 1}, "b": {"x": 2}}
    for text in ("epochs: 3\nepochs: 4\n", "data: {size: 8, size: 9}\n"):
        with pytest.raises(ValueError, match=r"r.yaml is not YAML: a field is there twice: (epochs|size); leave one"):
            parse_yaml(text, "r.yaml")


def test_a_result_is_no_folder(tmp_path, capsys):
    torch.save(WEIGHTS, tmp_path / "m.pt")
    assert main(["evaluate", str(tmp_path / "m.pt"), "--data", "digits", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder; give a result's file, such as --out {tmp_path}/result.json." in (
        capsys.readouterr().err
    )
