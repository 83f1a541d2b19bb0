import shutil
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from advdistill import models
from advdistill.acceleration.folding import fold, folds_of
from advdistill.acceleration.frozen import Frozen, native_bf16
from advdistill.losses import cross_entropy

ZOO = ["resnet18", "resnet20", "preact_resnet18", "wide_resnet-10-2", "mobilenet_v2", "convnet-16"]


def trained(name):
    """Return a network with random batch-norm statistics and with a normalisation of its images inside."""
    torch.manual_seed(0)
    model = models.create(name, 10, 3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model.eval()


def logits_and_gradient(model, x, y):
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    return logits, torch.autograd.grad(cross_entropy(logits, y).sum(), leaf)[0]


@pytest.mark.parametrize("name", ZOO)
def test_the_fast_copy_is_the_same_function(name):
    model, x, y = trained(name), torch.rand(4, 3, 16, 16), torch.arange(4)
    fast = Frozen(model)
    logits, gradient = logits_and_gradient(model, x, y)
    fast_logits, fast_gradient = logits_and_gradient(fast, x, y)
    assert (fast_logits - logits).norm() <= 1e-4 * logits.norm()
    assert (fast_gradient - gradient).norm() <= 1e-4 * gradient.norm()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "convnet-16"])
def test_no_batch_norm_is_left_after_a_convolution(name):
    assert not any(isinstance(module, nn.BatchNorm2d) for module in Frozen(trained(name)).modules())


@pytest.mark.parametrize("name", ["resnet18", "convnet-16"])
def test_bf16_points_the_same_way(name):
    model, x, y = trained(name), torch.rand(4, 3, 16, 16), torch.arange(4)
    logits, gradient = logits_and_gradient(model, x, y)
    fast_logits, fast_gradient = logits_and_gradient(Frozen(model, torch.bfloat16), x, y)
    assert fast_logits.dtype == fast_gradient.dtype == torch.float32
    assert (fast_logits - logits).norm() <= 0.05 * logits.norm()
    assert torch.cosine_similarity(fast_gradient.flatten(), gradient.flatten(), dim=0) > 0.95


def test_the_network_stays_as_it_is():
    model = trained("convnet-16").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Frozen(model, torch.bfloat16)(torch.rand(2, 3, 8, 8))
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refreshed_it_is_the_copy_of_the_network_as_it_is_now(dtype):
    model, x = trained("resnet20"), torch.rand(4, 3, 16, 16)
    fast, other = Frozen(model, dtype), trained("resnet20").train()
    other(x)  # moves the running statistics
    for parameter in other.parameters():
        parameter.data += 0.01
    fast.refresh(other)
    assert torch.equal(fast(x), Frozen(other, dtype)(x)) and not torch.equal(fast(x), Frozen(model, dtype)(x))


def test_a_fold_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1.0)).eval()
    for tensor, value in zip(network.state_dict().values(), (6.0, 5.0, 1.0, 2.0, 3.0), strict=False):
        tensor.fill_(value)  # the convolution; weight, bias, mean and variance of the norm
    folded = fold(network, folds_of(network))
    assert isinstance(folded[1], nn.Identity)
    assert folded[0].weight.item() == pytest.approx(6 * 5 / (3 + 1) ** 0.5)
    assert folded[0].bias.item() == pytest.approx((0 - 2) * 5 / (3 + 1) ** 0.5 + 1)


class Twice(nn.Module):
    """A batch-norm that follows two convolutions, and a convolution that is run twice: nothing folds."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.shared, self.own, self.bare = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        one, two = self.shared(self.first(x)), self.shared(self.second(x))
        return (one + self.own(self.first(two)) + self.bare(x)).mean((2, 3))


def test_what_is_used_twice_is_not_folded():
    model, x = Twice().eval(), torch.rand(2, 3, 4, 4)
    for norm in (model.shared, model.own, model.bare):
        norm.running_mean.uniform_()
    fast = Frozen(model)
    assert fast.folds == {}
    assert_close(fast(x), model(x))


def test_autocast_does_not_reach_inside():
    fast, x = Frozen(trained("convnet-16")), torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(x), fast(x)) and fast(x).dtype == torch.float32
        inside = fast(x)
    assert torch.equal(inside, fast(x))


class Wary(nn.Module):
    """Branches on the values of its logits, which tracing cannot follow."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x)
        if not logits.isfinite().all():
            raise ValueError
        return logits


def test_what_cannot_be_traced_is_folded_part_by_part():
    model, x = Wary(trained("convnet-16")), torch.rand(2, 3, 8, 8)
    fast = Frozen(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)


class Own(nn.Module):
    """A user's network: convolution, batch-norm, logits."""

    def __init__(self, convolution=None):
        super().__init__()
        self.convolution = convolution or nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        return self.head(self.norm(self.convolution(x)).relu().flatten(1))


class Views(Own):
    """Flattens with `view`, which channels-last memory does not allow."""

    def forward(self, x):
        return self.head(self.norm(self.convolution(x)).relu().view(len(x), -1))


class Shifts(Own):
    """Subtracts an fp32 tensor from its images, so that a bf16 convolution gets fp32 images."""

    def forward(self, x):
        return super().forward(x - torch.tensor([0.5]))


class Tied(Own):
    """Two convolutions share their weight, and only one of them is followed by a batch-norm."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1))
        self.other = nn.Conv2d(3, 4, 3, padding=1)
        self.other.weight = self.convolution.weight

    def forward(self, x):
        return super().forward(x) + self.other(x).mean((1, 2, 3))[:, None]


class Reads(Own):
    """Cannot be traced; it uses its stem, whose parts would fold, and also the output of the stem's convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(self.convolution, self.norm)

    def forward(self, x):
        if x.mean() > 2:
            raise ValueError
        return self.head(self.stem(x).relu().flatten(1)) + self.stem[0](x).mean((1, 2, 3))[:, None]


class Branches(Own):
    """Skips its batch-norm in train mode."""

    def forward(self, x):
        return self.head(self.convolution(x).flatten(1)) if self.training else super().forward(x)


SPECTRAL = partial(Own, nn.utils.spectral_norm(nn.Conv2d(3, 4, 3, padding=1)))


@pytest.mark.parametrize(
    "make, dtype, said",
    [
        (Views, torch.float32, "Views is not laid out channels-last: view size"),
        (Views, torch.bfloat16, "Views is not laid out channels-last: view size"),
        (Shifts, torch.bfloat16, "Shifts runs in fp32, not bf16: Input type"),
        (Tied, torch.float32, "Tied keeps its batch-norm: folded"),
        (Reads, torch.float32, "Reads keeps its batch-norm: folded"),
        (SPECTRAL, torch.float32, "Own keeps its batch-norm: folded"),
        (Branches, torch.float32, None),
    ],
)
def test_what_a_network_does_not_take_is_left_out_and_said_once(make, dtype, said):
    torch.manual_seed(0)
    model, x, y = make(), torch.rand(4, 3, 8, 8), torch.arange(4)
    fast = Frozen(model, dtype)
    with torch.no_grad():  # moves its statistics, as training does
        model.train()(x)
    fast.refresh(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logits, gradient = logits_and_gradient(fast, x, y)
        fast(x)
    assert [str(w.message)[: len(said)] for w in caught] == ([said] if said else [])
    plain_logits, plain_gradient = logits_and_gradient(model.eval(), x, y)
    limit = 0.05 if fast.dtype == torch.bfloat16 else 1e-4
    assert (logits - plain_logits).norm() <= limit * plain_logits.norm()
    assert (gradient - plain_gradient).norm() <= limit * plain_gradient.norm()


def test_a_copy_is_laid_out_channels_last():
    fast = Frozen(trained("convnet-4"), torch.bfloat16)
    fast(torch.rand(2, 3, 8, 8))
    weights = [p for p in fast.network.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights) and fast.dtype == torch.bfloat16


def test_a_network_of_double_precision_has_a_copy_too():
    model, x = trained("convnet-4"), torch.rand(2, 3, 8, 8)
    wanted = model(x)
    assert_close(Frozen(model.double())(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_devices_arithmetic_is_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert native_bf16() and native_bf16("cuda:0") and not native_bf16("cpu")


def test_precision_names_the_arithmetic():
    model = trained("convnet-16")
    assert Frozen(model).precision == "folded fp32" and Frozen(model, torch.bfloat16).precision == "bf16"


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler, and there is no g++ here")
def test_compiled_it_is_the_same_function():
    model, x, y = trained("convnet-4"), torch.rand(4, 3, 8, 8), torch.arange(4)
    fast = Frozen(model, compiled=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*runs uncompiled")
        logits, gradient = logits_and_gradient(fast, x, y)
    plain_logits, plain_gradient = logits_and_gradient(model, x, y)
    assert (logits - plain_logits).norm() <= 1e-4 * plain_logits.norm()
    assert (gradient - plain_gradient).norm() <= 1e-4 * plain_gradient.norm()
    model.linear.weight.data.mul_(2)
    fast.refresh(model)
    assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so_once(monkeypatch):
    def refused(*args):
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda network, **options: refused)
    model, x = trained("convnet-4"), torch.rand(2, 3, 8, 8)
    fast = Frozen(model, compiled=True)
    with pytest.warns(UserWarning, match="runs uncompiled: no compiler$"):
        assert torch.equal(fast(x), Frozen(model)(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(x)
