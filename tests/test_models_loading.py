"""Saving and loading: our files exactly, other checkpoints in the formats in which they are published."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from advdistill import models

SMALL = {
    "wide_resnet": "wide_resnet-16-2",
    "wide_resnet_trades": "wide_resnet_trades-10-3",
    "convnet": "convnet-5",
    "resnet_a": "resnet_a-14",
    "dm_wide_resnet": "dm_wide_resnet-10-1",
    "dm_wide_resnet_relu": "dm_wide_resnet_relu-10-1",
}
TWINS = [{"preact_resnet18", "preact_resnet18_raw"}, {"dm_wide_resnet-10-1", "dm_wide_resnet_relu-10-1"}]  # same shapes
# DeepMind's are recognised too, but refused without their statistics: tests/test_robustbench_models.py
NAMES = [SMALL.get(name, name) for name in models.names()]
ZOO = [name for name in NAMES if not name.startswith("dm_") and not any(name in same for same in TWINS)]
TEACHER = Path(__file__).parents[2] / "shared/teachers/cifar10_resnet18_linf_8_255.safetensors"


@pytest.fixture
def model():
    """A small network whose batch-norm statistics are not the initial ones."""
    torch.manual_seed(0)
    model = models.create("resnet8", 7, 1)
    model(torch.rand(8, 1, 8, 8))
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def same_weights(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(key == other and torch.equal(x, y) for (key, x), (other, y) in pairs)


@pytest.mark.parametrize("name", [*SMALL.values(), "resnet20", "mobilenet_v2"])
def test_what_is_saved_comes_back_bit_for_bit(name, tmp_path, images):
    saved = models.create(name, 5, 1, mean=(0.1,), std=(0.3,)).eval()
    models.save(saved, tmp_path / "m.safetensors")
    loaded = models.load(tmp_path / "m.safetensors")
    assert loaded.spec == saved.spec
    assert not loaded.training
    assert same_weights(loaded, saved)
    assert torch.equal(loaded(images), saved(images))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_every_architecture_is_recognised(name, suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    state = models.create(name, 6, 2).state_dict()
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    assert models.load(path).spec == models.ModelSpec(name, 6, 2)


def test_networks_of_the_same_names_and_shapes_are_known():
    by_shapes = {}
    for name in NAMES:
        with torch.device("meta"):
            state = models.create(name).state_dict()
        shapes = frozenset((key, tuple(tensor.shape)) for key, tensor in state.items())
        by_shapes.setdefault(shapes, set()).add(name)
    assert [same for same in by_shapes.values() if len(same) > 1] == TWINS


@pytest.mark.parametrize("name", [name for same in TWINS for name in sorted(same)])
def test_a_checkpoint_that_fits_several_networks_is_asked_for_and_not_guessed(name, tmp_path):
    """Loaded as the wrong architecture, it would run and give other logits."""
    torch.manual_seed(0)
    network, x = models.create(name).eval(), torch.rand(4, 3, 16, 16)
    torch.save(network.state_dict(), tmp_path / "m.pt")
    (same,) = (same for same in TWINS if name in same)
    listed = " or ".join(rf"\?arch={one} \(.+\)" for one in sorted(same))
    for options in ("", "?mean=0,0,0", "?num_classes=10"):
        said = rf"m.pt fits 2 architectures .* but different outputs; say which it is: {listed}\.$"
        with pytest.raises(ValueError, match=said):
            models.load(f"{tmp_path}/m.pt{options}")
    loaded = models.load(tmp_path / "m.pt", arch=name, mean=(0, 0, 0))
    assert loaded.spec.name == name and torch.equal(loaded(x), network(x))
    (other,) = same - {name}
    assert not torch.allclose(models.load(f"{tmp_path}/m.pt?arch={other}&mean=0,0,0")(x), network(x), rtol=0.05)
    models.save(network, tmp_path / "ours.safetensors")  # this file names its architecture
    assert torch.equal(models.load(tmp_path / "ours.safetensors")(x), network(x))



@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("nest", [
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"net": state, "acc": 0.5},
    lambda state: {"model": state, "optimizer": {"state": {}}},
    lambda state: {"model_state_dict": state},
    lambda state: {"model": {"state_dict": state}},
    lambda state: {**state, "epoch": 3},
])
def test_weights_are_found_where_people_put_them(nest, suffix, tmp_path, model):
    torch.save(nest(dict(model.state_dict())), tmp_path / f"m{suffix}")
    assert same_weights(models.load(tmp_path / f"m{suffix}"), model)


@pytest.mark.parametrize("prefix", [
    "module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model.",
])
def test_prefixes_are_taken_off(prefix, tmp_path, model):
    torch.save({prefix + key: tensor for key, tensor in model.state_dict().items()}, tmp_path / "m.pt")
    assert same_weights(models.load(tmp_path / "m.pt"), model)


@pytest.mark.parametrize("names", [("mean", "std"), ("mu", "sigma")])
@pytest.mark.parametrize("shape", [(2,), (1, 2, 1, 1)])
@pytest.mark.parametrize(("outer", "inner"), [("", ""), ("", "model."), ("module.", "model.")])
def test_a_normaliser_in_the_file_is_put_inside(names, shape, outer, inner, tmp_path):
    network = models.create("convnet", in_channels=2)
    state = {inner + key: tensor for key, tensor in network.state_dict().items()}
    mean, std = names
    state |= {mean: torch.tensor([0.5, 0.25]).view(shape), std: torch.tensor([2.0, 4.0]).view(shape)}
    torch.save({outer + key: tensor for key, tensor in state.items()}, tmp_path / "m.pt")
    spec = models.load(tmp_path / "m.pt").spec
    assert spec == models.ModelSpec("convnet-16", 10, 2, (0.5, 0.25), (2.0, 4.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_fp32(dtype, tmp_path, model):
    stored = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor
              for key, tensor in model.state_dict().items()}
    save_file(stored, tmp_path / "m.safetensors")
    loaded = models.load(tmp_path / "m.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.conv1.weight, stored["conv1.weight"].float())


def test_files_from_before_batch_norm_counted(tmp_path, model):
    counters = {key for key in model.state_dict() if key.endswith("num_batches_tracked")}
    state = {key: tensor for key, tensor in model.state_dict().items() if key not in counters}
    torch.save(state, tmp_path / "m.pt")
    assert torch.equal(models.load(tmp_path / "m.pt").conv1.weight, model.conv1.weight)


def test_a_run_directory_means_its_best_checkpoint(tmp_path, model):
    models.save(model, tmp_path / "best.safetensors")
    assert same_weights(models.load(tmp_path), model)
    assert same_weights(models.load(f"file:{tmp_path}"), model)


def test_options_follow_the_path(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "m.pt")
    loaded = models.load(f"file:{tmp_path}/m.pt?arch=resnet8&num_classes=7&mean=0.5&std=0.25")
    assert loaded.spec == models.ModelSpec("resnet8", 7, 1, (0.5,), (0.25,))
    assert models.load(f"{tmp_path}/m.pt?mean=0.5", mean=[0.1]).spec.mean == (0.1,)


def test_given_statistics_win_over_those_saved(tmp_path):
    saved = models.create("convnet", in_channels=1, mean=(0.5,), std=(0.5,))
    models.save(saved, tmp_path / "m.safetensors")
    loaded = models.load(tmp_path / "m.safetensors", mean=(0.1,))
    assert (loaded.spec.mean, loaded.spec.std) == ((0.1,), (0.5,))


def test_loading_leaves_the_random_state_alone(tmp_path, model):
    models.save(model, tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    models.load(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_header_says_who_wrote_it_and_what_was_added(tmp_path, model):
    models.save(model, tmp_path / "m.safetensors", extra={"epoch": "12"})
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata()["format"] == "advdistill"
        assert file.metadata()["epoch"] == "12"


def test_channels_last_models_are_saved(tmp_path, model):
    models.save(model.to(memory_format=torch.channels_last), tmp_path / "m.safetensors")
    assert same_weights(models.load(tmp_path / "m.safetensors"), model)


def test_a_save_that_fails_leaves_the_previous_file_and_nothing_else(tmp_path, model, monkeypatch):
    path = tmp_path / "best.safetensors"
    models.save(model, path)
    before = path.read_bytes()

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        models.save(models.create("resnet8"), path)
    assert os.listdir(tmp_path) == ["best.safetensors"]
    assert path.read_bytes() == before


@pytest.mark.skipif(not TEACHER.exists(), reason=f"the shared robust teacher is not at {TEACHER}")
def test_the_shared_teacher_loads_in_fp32():
    teacher = models.load(TEACHER)
    assert teacher.spec == models.ModelSpec("resnet18")
    assert teacher.linear.weight.dtype == torch.float32
