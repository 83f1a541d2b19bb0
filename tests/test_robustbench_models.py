"""Tests that published teachers are RobustBench's networks, of which only the needed modules are imported."""

import importlib
import importlib.util
import re
import sys
import types
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from advdistill import models
from advdistill.acceleration.frozen import Frozen
from advdistill.models import teachers
from advdistill.models.fitting import nearest

ZOO = "robustbench.model_zoo"
READ = ("dm_wide_resnet", "resnet", "wide_resnet")  # architectures that are imported; the others need timm and more
C10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}


class Unread(types.ModuleType):
    """A stand-in for a module; each of its names is an empty network class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


@pytest.fixture(scope="module")
def theirs():
    """`dm_wide_resnet`, `resnet` and `wide_resnet` of RobustBench, and its tables `cifar10` and `cifar100`."""
    spec = importlib.util.find_spec("robustbench")
    assert spec, "no robustbench to compare with; pip install --no-deps robustbench==1.1.1, as make test does"
    root, before = Path(spec.submodule_search_locations[0]), dict(sys.modules)
    sys.modules["timm"] = Unread("timm")
    for name in ("robustbench", ZOO, f"{ZOO}.architectures"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    for path in (root / "model_zoo" / "architectures").glob("*.py"):
        if path.stem not in (*READ, "__init__"):
            unread = Unread(path.stem)
            sys.modules[f"{ZOO}.architectures.{path.stem}"] = unread
            setattr(sys.modules[f"{ZOO}.architectures"], path.stem, unread)
    found = {name: importlib.import_module(f"{ZOO}.architectures.{name}") for name in READ}
    found |= {name: importlib.import_module(f"{ZOO}.{name}").linf for name in ("cifar10", "cifar100")}
    yield types.SimpleNamespace(**found)
    for name in [name for name in sys.modules if name == "timm" or name.split(".")[0] == "robustbench"]:
        del sys.modules[name]
    sys.modules.update(before)


def drawn(network, seed=0):
    """Fill a network's parameters and statistics with random numbers that keep signals moderate; return it."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name not in ("mu", "sigma") and tensor.is_floating_point():
            fan = tensor[0].numel() if tensor.ndim > 1 else 1
            noise = torch.randn(tensor.shape, generator=rng).to(tensor) / fan**0.5
            tensor.copy_(0.5 + noise.abs() if "running_var" in name else noise if tensor.ndim > 1 else 0.5 + noise / 4)
    return network.eval()


def shapes_of(network):
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if key not in ("mu", "sigma")}


def images(dtype=torch.float64):
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=dtype)


SAME = {
    "dm_wide_resnet-10-2": lambda t: t.dm_wide_resnet.DMWideResNet(10, 10, 2, t.dm_wide_resnet.Swish, **C10),
    "dm_wide_resnet-22-1": lambda t: t.dm_wide_resnet.DMWideResNet(10, 22, 1, nn.SiLU, **C10),
    "dm_wide_resnet_relu-10-2": lambda t: t.dm_wide_resnet.DMWideResNet(10, 10, 2, nn.ReLU, **C10),
    "dm_preact_resnet18": lambda t: t.dm_wide_resnet.DMPreActResNet(10, 18, 0, t.dm_wide_resnet.Swish, **C10),
    "preact_resnet18_bn": lambda t: t.cifar100["Rice2020Overfitting"]["model"](),
    "preact_resnet18": lambda t: t.resnet.PreActResNet(t.resnet.PreActBlockV2, [2, 2, 2, 2]),
    "preact_resnet18_raw": lambda t: t.resnet.PreActResNet(t.resnet.PreActBlock, [2, 2, 2, 2]),  # as in Wong2020Fast
    "wide_resnet-16-2": lambda t: t.wide_resnet.WideResNet(16, 10, 2),
    "wide_resnet_trades-10-2": lambda t: t.wide_resnet.WideResNet(10, 10, 2, sub_block1=True),
    "resnet18": lambda t: t.cifar10["Sehwag2021Proxy_R18"]["model"](),
}


@torch.no_grad()
@pytest.mark.parametrize("name", SAME)
def test_logits_equal_robustbenchs(theirs, name):
    network = drawn(SAME[name](theirs)).double()
    weights = {key: tensor for key, tensor in network.state_dict().items() if key not in ("mu", "sigma")}
    known = C10 if name.startswith("dm_") else {}
    if hasattr(network, "mu"):
        known = {"mean": network.mu.flatten().tolist(), "std": network.sigma.flatten().tolist()}
    ours = models.create(name, len(weights[list(weights)[-1]]), **known).double().eval()
    ours.load_state_dict(weights)
    expected = network(images())
    assert expected.std() > 1e-3
    assert_close(ours(images()), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def once(kind):
    """Wrap a class so that equal arguments give one network, which remembers its options."""

    built = {}

    def build(*args, **options):
        given = repr((args, options))
        if given not in built:
            built[given] = kind(*args, **options)
            built[given].options = options
        return built[given]

    return build


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_every_teacher_is_robustbenchs(theirs, dataset, monkeypatch):
    """Names, sizes, activation, statistics and files; and each network is recognised from its shapes."""
    for kind in ("DMWideResNet", "DMPreActResNet", "WideResNet", "ResNet"):
        module = sys.modules[f"{ZOO}.{dataset}"]
        monkeypatch.setattr(module, kind, once(getattr(module, kind)))
    recognised = {}
    for teacher in (teacher for teacher in teachers.TEACHERS.values() if teacher.dataset == dataset):
        entry = getattr(theirs, dataset)[teacher.name]
        assert teacher.source == entry["gdrive_id"]
        with torch.device("meta"):
            network = entry["model"]()
        if network not in recognised:
            recognised[network] = nearest(shapes_of(network))
        fit, *others = recognised[network]
        relu = [fit.spec.name.replace("resnet", "resnet_relu")] if fit.spec.name.startswith("dm_wide") else []
        assert [one.spec.name for one in others] == relu
        assert (fit.spec.name, fit.spec.num_classes, fit.misfits) == (teacher.arch, teacher.num_classes, 0)
        soft = any(type(module).__name__ in ("SiLU", "Swish") for module in network.modules())
        assert soft == teacher.arch.startswith("dm_")
        if teacher.name != "Rice2020Overfitting":
            options = getattr(network, "options", {})
            assert (teacher.mean, teacher.std) == (options.get("mean"), options.get("std"))


def test_the_statistics_are_robustbenchs(theirs):
    source = theirs.dm_wide_resnet
    small = theirs.cifar10["Rice2020Overfitting"]["model"](depth=10, widen_factor=1)
    for name, network in (("", small), ("cifar100/Linf/", theirs.cifar100["Rice2020Overfitting"]["model"]())):
        known = teachers.find(f"{name}Rice2020Overfitting")
        assert_close(torch.tensor([known.mean, known.std]), torch.stack([network.mu, network.sigma]).view(2, 3))
    assert teachers.find("Wang2023Better_WRN-28-10").mean == source.CIFAR10_MEAN
    assert teachers.find("Wang2023Better_WRN-28-10").std == source.CIFAR10_STD
    assert teachers.find("cifar100/Linf/Wang2023Better_WRN-28-10").mean == source.CIFAR100_MEAN
    assert teachers.find("cifar100/Linf/Wang2023Better_WRN-28-10").std == source.CIFAR100_STD


def test_figures_and_licences_are_the_published_ones(theirs):
    package = distribution("robustbench")
    licence = next(file for file in package.files if file.name == "LICENSE").read_text().split("\n---")[0]
    apache = re.findall(r"^- (CIFAR-10(?:/CIFAR-100)?), .*?, (\w+)\*: Apache License 2.0", licence, re.M)
    text = package.metadata.get_payload() or package.metadata["Description"]
    cifar10, cifar100 = re.findall(r"#### Linf, eps=8/255\s*\n(.*?)\n####", text, re.S)
    for teacher in teachers.TEACHERS.values():
        board = cifar10 if teacher.dataset == "cifar10" else cifar100
        line = next(line for line in board.splitlines() if f"**{teacher.name}**" in line)
        assert [float(figure) for figure in re.findall(r">([\d.]+)%<", line)] == [teacher.clean, teacher.autoattack]
        assert (teacher.licence == "Apache-2.0") == any(teacher.name.startswith(name) for _, name in apache)


@torch.no_grad()
def test_a_teacher_loads_from_your_file_as_robustbench_would(theirs, tmp_path):
    entry = theirs.cifar10["Rade2021Helper_R18_ddpm"]
    network = drawn(entry["model"]())
    weights = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 400}, tmp_path / "r18.pt")
    loaded = models.load(f"robustbench:cifar10/Linf/Rade2021Helper_R18_ddpm?file={tmp_path}/r18.pt")
    assert loaded.spec == models.ModelSpec("dm_preact_resnet18", 10, 3, **C10)
    expected = network(images(torch.float32))
    assert_close(loaded(images(torch.float32)), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    with pytest.raises(ValueError, match=r"r18.pt does not fit 'dm_wide_resnet-28-10': \d+ keys missing \(init_conv.*"
                                         r"Is it the checkpoint of robustbench:cifar100/Linf/Wang2023Better_WRN-28-10"):
        models.load(f"robustbench:cifar100/Linf/Wang2023Better_WRN-28-10?file={tmp_path}/r18.pt")


def test_a_wrong_number_of_classes_is_said(tmp_path):
    torch.save(models.create("resnet18", 100).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ValueError, match="holds a model of 100 classes, not 10"):
        models.load(f"robustbench:Sehwag2021Proxy_R18?file={tmp_path}/m.pt")


def test_a_bare_deepmind_checkpoint_must_say_how_images_are_normalised(tmp_path):
    network = drawn(models.create("dm_wide_resnet-10-1", 7, 1))
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"which it is: \?arch=dm_wide_resnet-10-1 .* or \?arch=dm_wide_resnet_relu-1"):
        models.load(f"{tmp_path}/m.pt?mean=0.5")
    named = f"{tmp_path}/m.pt?arch=dm_wide_resnet-10-1"
    with pytest.raises(ValueError, match=r"'dm_wide_resnet-10-1', which expects normalised images, .* \?mean=0.4914,"):
        models.load(named)
    assert models.load(f"{named}&mean=0.5").spec == models.ModelSpec("dm_wide_resnet-10-1", 7, 1, (0.5,))
    named = models.load(tmp_path / "m.pt", arch="dm_wide_resnet_relu-10-1", mean=(0,))
    x = torch.rand(2, 1, 8, 8)
    assert not torch.allclose(named(x), network(x))
    models.save(network, tmp_path / "ours.safetensors")
    assert torch.equal(models.load(tmp_path / "ours.safetensors")(x), network(x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["dm_wide_resnet-10-2", "dm_preact_resnet18", "preact_resnet18_bn"])
def test_an_attacks_fast_copy_is_the_same_network(name):
    network, x = drawn(models.create(name, mean=(0.5,) * 3)), images(torch.float32)
    fast = Frozen(network)
    assert fast.folds
    assert_close(fast(x), network(x), rtol=1e-4, atol=1e-4 * network(x).abs().max().item())


def test_names_that_are_not_listed():
    with pytest.raises(ValueError, match="Unknown cifar10/Linf teacher 'Wang2023Better'. Did you mean 'Wang2023Bett"):
        teachers.find("Wang2023Better")
    for name in ("cifar10/L2/Wang2023Better_WRN-28-10", "svhn/Linf/x", "cifar10/x"):
        with pytest.raises(ValueError, match="are known, only of cifar10/Linf and cifar100/Linf; write for example "):
            teachers.find(name)
