"""The zoo: every network is the published one, at any size, with its normalisation inside."""

import importlib.util
from pathlib import Path

import pyautoattack
import pytest
import torch
from torch import nn

from advdistill import models

# Small members of the families that have sizes, so that tests are fast.
SIZED = ("wide_resnet", "wide_resnet_trades", "dm_wide_resnet", "dm_wide_resnet_relu")
SMALL = {name: f"{name}-10-2" for name in SIZED} | {"resnet_a": "resnet_a-14"}
ZOO = [SMALL.get(name, name) for name in models.names()]
PARAMETERS = {
    "resnet18": 11_173_962,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet56": 855_770,
    "resnet_a": 853_018,
    "preact_resnet18": 11_171_146,
    "wide_resnet": 46_160_474,
    "dm_wide_resnet": 36_479_194,
    "dm_preact_resnet18": 12_548_426,
    "mobilenet_v2": 2_296_922,
}


def example_resnet():
    """The ResNet that pyautoattack ships, read as a file: it is an example, not part of the package."""
    folder = Path(pyautoattack.__file__).parent / "examples"
    module_spec = importlib.util.spec_from_file_location("example_resnet", folder / "resnet.py")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module.ResNet18(), folder / "model_test.pt"


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(("size", "channels", "classes"), [
    ((8, 8), 1, 2), ((8, 8), 3, 100), ((32, 32), 3, 10), ((9, 13), 3, 2), ((33, 31), 1, 100),
])
def test_logits_have_one_row_per_image(name, size, channels, classes):
    with torch.device("meta"):
        model = models.create(name, classes, channels)
        assert model(torch.rand(2, channels, *size)).shape == (2, classes)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_runs_and_trains_at_8_by_8(name):
    model = models.create(name, in_channels=1)
    logits = model(torch.rand(4, 1, 8, 8))
    logits.square().sum().backward()
    idle = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert logits.isfinite().all()
    assert all(key.startswith("sub_block1.") for key in idle)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name):
    counts = {entry["name"]: entry["parameters"] for entry in models.describe()}
    assert counts[name] == PARAMETERS[name]


def test_trades_wide_resnet_has_a_second_first_group():
    with torch.device("meta"):
        plain, trades = models.create("wide_resnet-34-10"), models.create("wide_resnet_trades-34-10")
    first_group = {key for key in plain.state_dict() if key.startswith("block1.")}
    assert set(trades.state_dict()) - set(plain.state_dict()) == {f"sub_{key}" for key in first_group}


@pytest.mark.parametrize(("width", "parameters"), [(4, 1_702), (8, 6_274), (16, 24_058), (32, 94_186)])
def test_convnet_sizes_on_grey_images(width, parameters):
    model = models.create(f"convnet-{width}", in_channels=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("name", "stem", "stages", "head"), [
    ("resnet18", {"conv1", "bn1"}, "layer", "linear"),
    ("resnet20", {"conv1", "bn1"}, "layer", "fc"),
    ("resnet_a-8", {"conv1", "bn1"}, "layer", "linear"),
    ("preact_resnet18", {"conv1"}, "layer", "linear"),
    ("preact_resnet18_raw", {"conv1"}, "layer", "linear"),
    ("preact_resnet18_2x2", {"conv1"}, "layer", "linear"),
    ("preact_resnet18_bn", {"conv1", "bn"}, "layer", "linear"),
    ("wide_resnet-10-1", {"conv1", "bn1"}, "block", "fc"),
    ("dm_wide_resnet-10-1", {"init_conv", "batchnorm"}, "layer", "logits"),
    ("dm_preact_resnet18", {"conv_2d", "batchnorm"}, "layer_", "logits"),
    ("mobilenet_v2", {"conv1", "bn1", "conv2", "bn2"}, "layers", "linear"),
])
def test_parts_have_their_published_names(name, stem, stages, head):
    parts = {key.split(".")[0] for key in models.create(name).state_dict()}
    assert {part for part in parts if not part.startswith(stages)} == stem | {head}


def test_resnet18_is_the_published_one():
    theirs, weights = example_resnet()
    ours = models.load(weights)
    theirs.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    x = torch.rand(4, 3, 32, 32)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours(x), theirs.eval()(x))


def test_option_a_has_no_parameters_and_pads_channels_on_both_sides():
    model = models.create("resnet_a-8").eval()
    assert not [key for key in model.state_dict() if "shortcut" in key or "downsample" in key]
    block, x = model.layer2[0], torch.rand(2, 16, 6, 6)
    with torch.no_grad():
        block.bn2.weight.zero_()
        block.bn2.bias.zero_()  # only the shortcut is left
        expected = torch.zeros(2, 32, 3, 3)
        expected[:, 8:24] = x[:, :, ::2, ::2]
        assert torch.equal(block(x), expected)


def test_dgads_head_reads_tiny_imagenets_8_by_8_pooled_by_4():
    model = models.create("preact_resnet18_2x2", 200).eval()
    assert model.linear.in_features == 2048
    read, x = [], torch.rand(2, 3, 64, 64)
    model.layer4.register_forward_hook(lambda module, inputs, output: read.append(output))
    with torch.no_grad():
        logits = model(x)
        assert read[0].shape == (2, 512, 8, 8)
        assert torch.equal(logits, model.linear(nn.functional.avg_pool2d(read[0], 4).flatten(1)))


def test_peeraids_shortcuts_read_the_raw_input():
    raw, after = (models.create(name).layer2[0].eval() for name in ("preact_resnet18_raw", "preact_resnet18"))
    after.load_state_dict(raw.state_dict())
    x = torch.rand(2, 64, 8, 8) - 0.5
    with torch.no_grad():
        for block, seen in ((raw, x), (after, nn.functional.relu(raw.bn1(x)))):
            out = raw.conv1(nn.functional.relu(raw.bn1(x)))
            out = raw.conv2(nn.functional.relu(raw.bn2(out)))
            assert torch.allclose(block(x), out + raw.shortcut(seen), atol=1e-6)


def test_integers_left_out_take_their_defaults():
    assert models.create("convnet").spec.name == "convnet-16"
    with torch.device("meta"):
        assert models.create("wide_resnet-16").spec.name == "wide_resnet-16-10"


def test_describe_gives_an_example_that_can_be_created():
    for entry in models.describe():
        with torch.device("meta"):
            assert models.create(entry["example"]).spec.name == entry["example"]
        assert entry["about"]


@pytest.mark.parametrize("statistics", [
    {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1)}, {"mean": (0.5, 0.4, 0.3)}, {"std": (0.2, 0.3, 0.1)},
])
def test_normalising_inside_equals_normalising_outside(statistics):
    inside, outside = models.create("resnet8", **statistics).eval(), models.create("resnet8").eval()
    outside.load_state_dict(inside.state_dict())
    x = torch.rand(4, 3, 16, 16)
    mean = torch.tensor(statistics.get("mean", (0.0,) * 3)).view(3, 1, 1)
    std = torch.tensor(statistics.get("std", (1.0,) * 3)).view(3, 1, 1)
    assert torch.equal(inside(x), outside((x - mean) / std))


def test_the_spec_rebuilds_the_model():
    spec = models.create("convnet", 7, 1, mean=[0.5], std=[0.25]).spec
    assert spec == models.ModelSpec("convnet-16", 7, 1, (0.5,), (0.25,))
    assert models.create(spec.name, spec.num_classes, spec.in_channels, spec.mean, spec.std).spec == spec


def test_statistics_move_with_the_model_but_are_not_saved():
    model = models.create("convnet", mean=(0.5,) * 3).to(torch.float64)
    assert model.mean.dtype == torch.float64
    assert not {"mean", "std"} & set(model.state_dict())


def test_networks_are_modules_with_a_spec():
    model = models.create("convnet")
    assert isinstance(model, nn.Module) and isinstance(model, models.Classifier)


@pytest.mark.parametrize(("name", "message"), [
    ("resnet81", "Unknown model 'resnet81'. Did you mean 'resnet8'? Known: convnet, dm_preact_resnet18, "),
    ("wide-resnet-34-10", "Unknown model 'wide-resnet-34-10'. Did you mean 'wide_resnet'? Known: "),
    ("xyzzy", "Unknown model 'xyzzy'. Known: "),
    ("resnet18-3", "'resnet18-3' has 1 integer(s) after the name, 'resnet18' takes at most 0; "
                   "write 'resnet18'."),
    ("wide_resnet-34-x", "'x' in 'wide_resnet-34-x' must be a positive integer, 9999 at most; write for example "
                         "'wide_resnet-34-10'."),
    ("convnet-0", "'0' in 'convnet-0' must be a positive integer, 9999 at most; write for example 'convnet-16'."),
    ("wide_resnet-33-10", "'wide_resnet-33-10': the depth must be 6n+4 (10, 16, 22, 28, 34, ...), not 33; "
                          "write 'wide_resnet-34-10'."),
    ("wide_resnet-4-1", "not 4; write 'wide_resnet-10-1'."),
    ("resnet_a-57", "'resnet_a-57': the depth must be 6n+2 (8, 14, 20, 32, 44, 56, 110, ...), not 57; "
                    "write 'resnet_a-56'."),
])
def test_names_that_cannot_be_built(name, message):
    with pytest.raises(ValueError) as error:
        models.create(name)
    assert message in str(error.value)


@pytest.mark.parametrize(("statistics", "message"), [
    ({"mean": (0.5,)}, "mean has 1 value(s) but 'resnet8' has 3 input channel(s); give one per channel."),
    ({"std": (0.2, 0.0, 0.2)}, "Every std must be positive, not 0.0; None is no scaling."),
])
def test_statistics_that_do_not_fit(statistics, message):
    with pytest.raises(ValueError) as error:
        models.create("resnet8", **statistics)
    assert str(error.value) == message
