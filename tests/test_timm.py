"""Networks of the real timm: as teachers and as students, timm's weights from the hub's cache, and rejected input.

timm imports torchvision, whose PyPI builds load only together with PyPI's torch. If torchvision does not load, empty
modules take its place during that import: these networks use nothing of it.
"""

import importlib
import sys
import types
from enum import Enum

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_models_references import refusal
from torch import nn
from training import short

from advdistill import Recipe, distill, models
from advdistill.optimizers import groups, make
from advdistill.results.metrics import read_metrics

NAME = "test_efficientnet_gn"  # 100,224 parameters; unlike others', its mean and std are not ImageNet's
STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
USED = ["torchvision"] + [f"torchvision.{name}" for name in (
    "ops", "ops.misc", "transforms", "transforms.functional", "datasets", "models", "models.feature_extraction")]
Interpolation = Enum("InterpolationMode", "NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS")


class Empty(types.ModuleType):
    """A module in which every name is an empty network class."""

    __path__ = []
    InterpolationMode = Interpolation

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


@pytest.fixture(scope="module")
def timm():
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError):  # the latter from a torchvision that does not fit torch
        for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:  # half imported
            del sys.modules[name]
    try:
        for name in USED:
            sys.modules[name] = Empty(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        return importlib.import_module("timm")
    finally:
        for name in USED:
            del sys.modules[name]


def drawn(timm, **options):
    torch.manual_seed(0)
    network = timm.create_model(NAME, pretrained=False, **options).eval()
    for parameter in network.parameters():  # the head of a fresh network is nearly zero
        parameter.data.add_(torch.randn_like(parameter) / 10)
    return network


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_checkpoint_is_loaded_and_normalised_as_timm_says(timm, tmp_path):
    network = drawn(timm, num_classes=4)
    weights = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "m.pt")
    reference = f"timm:{NAME}?checkpoint={tmp_path}/m.pt&num_classes=4"
    loaded, plain = models.load(reference), models.load(f"{reference}&mean=0&std=1")
    assert {key: tuple(getattr(loaded, key).flatten().tolist()) for key in STATISTICS} == STATISTICS
    assert not loaded.training and network(IMAGES).std() > 0.01
    assert torch.equal(loaded(IMAGES), network((IMAGES - 0.5) / 0.5))
    assert torch.equal(plain(IMAGES), network(IMAGES)) and not torch.allclose(plain(IMAGES), loaded(IMAGES))
    assert "m.pt does not fit EfficientNet: size mismatch for classifier.weight" in refusal(
        f"timm:{NAME}?checkpoint={tmp_path}/m.pt")  # fmt: skip


@torch.no_grad()
def test_its_own_weights_come_from_the_hubs_cache_without_a_network(timm, tmp_path, monkeypatch):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert refusal(f"timm:{NAME}?pretrained=true", OSError).startswith(f"timm cannot make {NAME!r}: ")
    commit, there = "0" * 40, tmp_path / f"models--timm--{NAME}.r160_in1k"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text(commit)
    (there / "snapshots" / commit).mkdir(parents=True)
    network = drawn(timm)
    save_file(network.state_dict(), there / "snapshots" / commit / "model.safetensors")
    loaded = models.load(f"timm:{NAME}?pretrained=true")
    assert loaded(IMAGES).shape == (2, 1000) and torch.equal(loaded(IMAGES), network((IMAGES - 0.5) / 0.5))


def test_what_is_refused(timm):
    assert refusal(f"timm:{NAME}").startswith(f"timm:{NAME} needs one source of weights; choose timm's own")
    assert refusal("timm:test_efficientnet_gm").startswith("Unknown timm model 'test_efficientnet_gm'")
    with pytest.raises(ValueError, match=f"Unknown timm model 'test_efficientnet_gm'. Did you mean '{NAME}'"):
        models.create("timm:test_efficientnet_gm")


@torch.no_grad()
def test_a_student_is_saved_and_loaded_like_one_of_ours(timm, tmp_path):
    student = models.create(f"timm:{NAME}", 7, 1, mean=(0.5,), std=(0.25,)).eval()
    student.body.classifier.weight.normal_()
    models.save(student, tmp_path / "s.safetensors")
    loaded, x = models.load(tmp_path / "s.safetensors"), IMAGES[:, :1]
    assert loaded.spec == student.spec and torch.equal(loaded(x), student(x)) and loaded(x).shape == (2, 7)
    assert torch.equal(student(x), student.body((x - 0.5) / 0.25))


def test_a_student_is_trained(timm, tmp_path):
    """A recipe names the student; the run is loaded like any other."""
    run = distill(short("pgd_at", student=f"timm:{NAME}", epochs=1), tmp_path / "run", accelerator="cpu")
    (row,) = read_metrics(run.metrics)
    trained, kept = models.load(tmp_path / "run"), load_file(run.best)
    assert trained.spec.name == f"timm:{NAME}" and trained.spec.num_classes == 10 and 0 < row["loss/adv"] < 100
    assert {"body.conv_stem.weight", "body.classifier.weight"} <= kept.keys()
    assert all(torch.equal(trained.state_dict()[key], tensor) for key, tensor in kept.items())


def test_timm_is_asked_for_when_it_is_missing(without):
    without("timm")
    assert refusal("timm:resnet18?pretrained=true", ImportError) == (
        'A timm: model needs the package timm; install it with: pip install "advdistill[timm]"')


def test_a_torchvision_of_another_torch_is_named(tmp_path, monkeypatch, without):
    """For example PyPI's torchvision with a torch from elsewhere."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    without("timm")
    monkeypatch.delitem(sys.modules, "timm")
    assert refusal("timm:resnet18?pretrained=true", ImportError) == (
        f"A timm: model needs a torchvision that fits your torch {torch.__version__} (operator torchvision::nms does "
        "not exist); install the two together: pip install torch torchvision")


def test_lamb_is_timms_and_a_recipe_names_it(timm):
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(4, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    chosen = Recipe.from_yaml("optimizer: {name: lamb, lr: 0.01, weight_decay: 0.1}").optimizer
    optimizer = make(chosen, groups(chosen, {"student": ours}))
    assert type(optimizer) is timm.optim.Lamb and [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.1]
    optimizer.param_groups[1]["weight_decay"] = 0.0  # as a step sets it: the bias does not decay
    by_hand = timm.optim.Lamb(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}], lr=0.01
    )
    x = torch.rand(5, 4)
    for network, each in ((ours, optimizer), (theirs, by_hand)):
        for _ in range(3):
            each.zero_grad()
            network(x).square().sum().backward()
            each.step()
    torch.testing.assert_close((ours.weight, ours.bias), (theirs.weight, theirs.bias))
