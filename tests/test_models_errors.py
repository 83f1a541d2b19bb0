"""Tests that a checkpoint that cannot be loaded gives one sentence and that no code in it runs."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from advdistill import models


class Malicious:
    """An object that creates the file `path` if it is unpickled unsafely."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def state():
    return dict(models.create("resnet8").state_dict())


def refusal(reference, **options):
    with pytest.raises(ValueError) as error:
        models.load(reference, **options)
    return str(error.value)


def test_a_missing_file(tmp_path):
    expected = r"No checkpoint at .*teacher.pt; give a file \(.safetensors, .*\) or a run directory."
    with pytest.raises(FileNotFoundError, match=expected):
        models.load(tmp_path / "teacher.pt")


def test_a_folder_that_is_not_a_run(tmp_path):
    assert refusal(tmp_path).startswith(
        f"The folder {tmp_path} is not a run directory, as it has no best.safetensors; ")


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_safetensors(keep, tmp_path, state):
    path = tmp_path / "m.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path} is truncated or not a safetensors file (" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [10, 30, 0.5])
def test_truncated_pt(keep, zipped, tmp_path, state):
    path = tmp_path / "m.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[:keep if isinstance(keep, int) else int(keep * len(data))])
    assert refusal(path) == f"{path} is truncated or not a PyTorch checkpoint; copy it anew."


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_an_empty_file(name, tmp_path):
    (tmp_path / name).touch()
    assert refusal(tmp_path / name) == f"{tmp_path / name} is empty; copy it anew."


def test_a_text_file_named_pt(tmp_path):
    (tmp_path / "m.pt").write_text("hello world")
    assert "m.pt is a text file, not a PyTorch checkpoint; " in refusal(tmp_path / "m.pt")


@pytest.mark.parametrize("write", [
    torch.save, lambda loot, path: path.write_bytes(pickle.dumps(loot, protocol=2)),
])
def test_a_pickle_that_runs_code_is_refused(write, tmp_path, state):
    path = tmp_path / "m.pt"
    write({"state_dict": state, "best": Malicious(tmp_path / "stolen")}, path)
    assert refusal(path) == (f"{path} holds io.open under best, which could run code, so it was not opened; "
                             "where you trust it, save model.state_dict() alone.")
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(("content", "message"), [
    ({"epoch": 3, "lr": 0.1}, "m.pt holds no weights, only epoch, lr; give a file with a network's state"),
    ({}, "m.pt holds no weights, only an empty dictionary; "),
    ([1, 2], "m.pt holds a list, not a state dict; "),
])
def test_a_file_without_weights(content, message, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    assert message in refusal(tmp_path / "m.pt")


def test_only_a_normaliser(tmp_path):
    torch.save({"mean": torch.zeros(3), "std": torch.ones(3)}, tmp_path / "m.pt")
    assert "fits no known architecture" in refusal(tmp_path / "m.pt")


def test_the_wrong_architecture(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    message = refusal(tmp_path / "m.pt", arch="resnet18")
    assert "m.pt does not fit 'resnet18': " in message
    assert "67 keys missing (layer1.1.conv1.weight, " in message and ", ...), " in message
    assert "unexpected (layer2.0.downsample.0.weight, " in message
    assert "of another shape (conv1.weight is [16, 3, 3, 3], not [64, 3, 3, 3], " in message
    assert message.endswith("Leave arch out to have it recognised.")


def test_an_unknown_architecture_names_the_nearest_and_the_keys(tmp_path, state):
    del state["layer3.0.conv2.weight"]
    state["layer3.0.attention"] = torch.zeros(3)
    state["layer3.0.bn2.bias"] = torch.zeros(65)
    torch.save(state, tmp_path / "m.pt")
    assert refusal(tmp_path / "m.pt") == (
        f"{tmp_path / 'm.pt'} fits no known architecture; the nearest, 'resnet8', has "
        "1 keys missing (layer3.0.conv2.weight), 1 unexpected (layer3.0.attention), "
        "1 of another shape (layer3.0.bn2.bias is [65], not [64]). If it is a class of your own, name it with the "
        f"file: python:my_module:MyNet?checkpoint={tmp_path / 'm.pt'}")


def test_an_unknown_name_of_an_architecture(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    assert "Unknown model 'resnet81'. Did you mean 'resnet8'?" in refusal(tmp_path / "m.pt", arch="resnet81")


@pytest.mark.parametrize("ours", [True, False])
def test_the_wrong_class_count(ours, tmp_path):
    path, model = tmp_path / "m.safetensors", models.create("resnet8")
    models.save(model, path) if ours else save_file(model.state_dict(), path)
    assert refusal(path, num_classes=100) == (
        f"{path} holds a model of 10 classes, not 100; leave num_classes out or give another checkpoint.")


def test_an_unknown_scheme():
    assert refusal("foo:bar") == (
        "Unknown kind of model reference 'foo:' in 'foo:bar'. Known: file:, hf:, python:, robustbench:, timm:, zoo: "
        "and plain paths.")


def test_an_unknown_option(tmp_path):
    assert refusal(f"file:{tmp_path}/m.pt?archi=resnet18").startswith(
        "Unknown option 'archi' in a model reference. Known: arch, num_classes, mean, std, as in file:t.pt?")


@pytest.mark.parametrize("option", ["mean=0.5,x", "std=", "num_classes=ten"])
def test_a_malformed_option(option, tmp_path):
    key, value = option.split("=")
    assert refusal(f"file:{tmp_path}/m.pt?{option}").startswith(
        f"The option {key}={value!r} of a model reference is malformed; write it as in file:t.pt?")


def test_statistics_that_do_not_fit_the_file(tmp_path, state):
    torch.save(state, tmp_path / "m.pt")
    message = refusal(tmp_path / "m.pt", mean=[0.5])
    assert message == "mean has 1 value(s) but 'resnet8' has 3 input channel(s); give one per channel."


def test_saving_under_another_suffix(tmp_path):
    with pytest.raises(ValueError, match="saved as safetensors, not as 'best.pt'; write 'best.safetensors'"):
        models.save(models.create("resnet8"), tmp_path / "best.pt")
