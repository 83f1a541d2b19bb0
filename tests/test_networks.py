"""Users' networks of many forms at every entry point: Distiller, distill, evaluate and export."""

import threading
import types
import warnings
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from conftest import Tiny
from safetensors.torch import load_file
from test_every_method import ALL
from torch import nn
from torch.testing import assert_close
from training import four, losses_of, quick

from advdistill import PGD, PGDAT, RSLAD, AdaAD, Distiller, Linf, Standard, evaluate, models
from advdistill._internal.adapter import copied, logits_of
from advdistill._internal.rng import Rng
from advdistill.attacks import CustomAttack
from advdistill.data import Split
from advdistill.evaluation import gradient_alignment, robust_curve
from advdistill.export import build, write
from advdistill.methods import build as method_named
from advdistill.models.digest import digest
from advdistill.preflight.teacher import predictions

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* keeps its batch-norm",  # weight norm cannot be folded
    "ignore:The .grad attribute of a Tensor:UserWarning",  # torch.compile warns for a part of a network
)
ATTACK = PGD(2, 0.05, Linf(0.1))
Named = namedtuple("Named", ["features", "logits"])


class Net(nn.Module):
    """A network with a convolution and batch-norm, for images [1, 4, 4] of four classes."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).mean((2, 3)))


class Returns(nn.Module):
    """A network whose output is changed by `form`."""

    def __init__(self, network, form):
        super().__init__()
        self.network, self.form = network, form

    def forward(self, x):
        return self.form(self.network(x), x)


OUTPUTS = {
    "tuple": lambda z, x: (z, x),
    "tuple, logits last": lambda z, x: (x, None, z),
    "list": lambda z, x: [z],
    "dict": lambda z, x: {"features": torch.cat([z, z], 1), "logits": z},
    "dict without the name": lambda z, x: {"maps": x, "out": z},
    "named tuple": lambda z, x: Named(torch.cat([z, z], 1), z),
    "object": lambda z, x: types.SimpleNamespace(logits=z, loss=None),
}


def returning(form):
    return lambda network: Returns(network, OUTPUTS[form])


class Twice(nn.Module):
    """A network with a module under two names."""

    def __init__(self, network):
        super().__init__()
        self.network, self.last = network, network.head

    def forward(self, x):
        return self.network(x)


class Tied(nn.Module):
    """A network with a parameter under two names, and a buffer that is a view of a part of another buffer."""

    def __init__(self, network):
        super().__init__()
        self.network, self.weight = network, network.head.weight
        self.register_buffer("some", network.norm.running_mean[:2])

    def forward(self, x):
        return self.network(x)


class Stores(nn.Module):
    """A network that stores its last two outputs, with their autograd graphs."""

    def __init__(self, network):
        super().__init__()
        self.network, self.outputs = network, []

    def forward(self, x):
        self.outputs = [*self.outputs[-1:], self.network(x)]
        return self.outputs[-1]


def weight_normed(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is a newer version
        nn.utils.weight_norm(network.conv)
        nn.utils.weight_norm(network.head)
    network(torch.rand(2, 1, 4, 4))
    return network


def compiled_part(network):
    network.head = torch.compile(network.head, backend="eager")
    return network


FORMS = {name: returning(name) for name in OUTPUTS} | {
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "compiled in place": lambda network: network.compile(backend="eager") or network,
    "compiled part": compiled_part,
    "parallel": nn.DataParallel,
    "parallel and compiled": lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
    "scripted": torch.jit.script,
    "weight norm": weight_normed,
    "module under two names": Twice,
    "parameter under two names": Tied,
    "stored outputs": Stores,
}


def made(form, seed=0, network=Net):
    """A network in one of `FORMS`, and the same network unchanged."""
    found = []
    for change in (FORMS[form], lambda plain: plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found.append(change(network()))
            found[-1].eval()
            found[-1](torch.rand(2, 1, 4, 4))
    return [network.train() for network in found]


def loss(method, student, x, y, fast=None, attack=ATTACK, **teachers):
    return Distiller(method, attack=attack, fast=fast, teachers=teachers)(student, x, y, rng=Rng(3))


@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize("name", ALL)
def test_every_method_finds_the_logits_of_every_network(name, form, batch):
    method, found = method_named(name), []
    for change in (returning(form), lambda network: network):
        student, *teachers = (change(network) for network in four(Tiny).values())
        given = dict(zip(("teacher", "clean_teacher", "peer"), teachers, strict=True))
        distiller = Distiller(method.fresh(), attack=ATTACK, label_mixing=0.1, **given)
        found.append(distiller(student, *batch, rng=Rng(3)))
    assert torch.equal(*found)


@pytest.mark.parametrize("fast", [None, torch.float32], ids=["plain", "fast"])
@pytest.mark.parametrize("form", FORMS)
def test_a_distiller_takes_it_in_every_role(form, fast, batch):
    student, teacher = (made(form, seed) for seed in (0, 1))
    x, y = batch
    with_forms, plain = (loss(AdaAD(), s, x, y, fast, robust=t) for s, t in zip(student, teacher, strict=True))
    if form == "weight norm":  # it rounds, which changes the sign of a gradient near 0
        assert_close(with_forms, plain, rtol=0.02, atol=1e-5)
        return
    assert_close(with_forms, plain)
    with_forms.backward()
    plain.backward()
    gradients = [next(p for n, p in s.named_parameters() if "conv" in n and "bias" in n).grad for s in student]
    assert_close(*gradients)


@pytest.mark.parametrize("form", ["tuple", "dict", "compiled"])
def test_a_custom_attack_gets_logits(form, batch):
    def fgsm(model, x, y, *, rng):
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
        return (x + 0.05 * gradient.sign()).clamp(0, 1)

    first, second = (loss(PGDAT(), net, *batch, attack=CustomAttack(fgsm, Linf(0.1))) for net in made(form))
    assert_close(first, second)


IMAGES = torch.randint(256, (40, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TEST = Split(IMAGES, torch.arange(40) % 4, ("a", "b", "c", "d"), "random/test")


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_takes_it(form):
    network, plain = made(form)
    found, expected = (evaluate(one, TEST, Linf(0.1), "clean,pgd-20") for one in (network, plain))
    assert [m.correct for m in found.measurements] == [m.correct for m in expected.measurements]
    if form.startswith(("compiled", "parallel")):
        assert found.weights == expected.weights and found.model == expected.model == "Net"
    suite = "clean,transfer-pgd-20-trades"
    accelerated = evaluate(network, TEST, Linf(0.1), suite, accelerated=True, surrogate=network)
    assert accelerated.measurements[0].correct == expected.measurements[0].correct
    assert torch.equal(predictions(network, TEST), predictions(plain, TEST))


@pytest.mark.parametrize("form", FORMS)
def test_a_run_trains_saves_and_is_loaded_alike(form, tmp_path):
    (student, plain), (teacher, other) = made(form), made(form, 1)
    run = quick(tmp_path / "run", {"student": student, "teacher": teacher}, "rslad", ema=0.5)
    expected = quick(tmp_path / "plain", {"student": plain, "teacher": other}, "rslad", ema=0.5)
    assert_close(losses_of(run), losses_of(expected), rtol=1e-3, atol=1e-5)
    fresh = made(form, 7)[0]
    inside = getattr(fresh, "_orig_mod", fresh)
    inside = getattr(inside, "module", inside)
    weights = load_file(run.last)
    if form == "compiled part":
        assert not any("_orig_mod" in name for name in weights)
    else:
        inside.load_state_dict(weights)
        assert digest(inside) == evaluate(inside, TEST, Linf(0.1), "clean").weights


def test_a_zoo_network_is_found_again_whatever_is_wrapped_around_it(tmp_path):
    network = models.create("convnet-2", 10, 1)
    wrapped = torch.compile(nn.DataParallel(network), backend="eager")
    models.save(wrapped, tmp_path / "a.safetensors")
    assert digest(models.load(tmp_path / "a.safetensors")) == digest(wrapped) == digest(network)


@pytest.mark.parametrize("form", ["dict", "weight norm", "module under two names", "compiled"])
def test_export_takes_it(form, tmp_path):
    network = made(form)[0].eval().requires_grad_(False)
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    artefact = build("torch-export", network, (1, 4, 4), images)
    assert write(artefact, {}, tmp_path / "a.pt2", network, images).agree == 8


def test_a_spectral_norm_is_copied_and_trained(tmp_path):
    network = nn.utils.spectral_norm(nn.Linear(16, 4))
    student = nn.Sequential(nn.Flatten(), network)
    student(torch.rand(2, 1, 4, 4))
    x = torch.rand(3, 1, 4, 4)
    assert_close(copied(student).eval()(x), student.eval()(x))
    quick(tmp_path / "run", {"student": student.train()}, "pgd_at", swa=0.0)


UNSAVABLE = {
    "extra state": ("'_extra_state' of its state dict is a dict", {"get_extra_state": lambda self: {"a": 1}}),
    "complex": ("cannot be saved as safetensors.*complex128", {}),
    "sparse": ("'odd' of its state dict is a tensor that is sparse", {}),
    "lock": ("Odd cannot be copied: cannot pickle '_thread.lock' object", {}),
}
BUFFERS = {"complex": torch.zeros(2, dtype=torch.complex128), "sparse": torch.eye(2).to_sparse()}


@pytest.mark.parametrize("kind", UNSAVABLE)
def test_what_cannot_be_saved_is_found_before_the_first_step(kind, tmp_path):
    message, methods = UNSAVABLE[kind]
    student = type("Odd", (Net,), methods | ({"set_extra_state": lambda self, state: None} if methods else {}))()
    if kind in BUFFERS:
        student.register_buffer("odd", BUFFERS[kind])
    if kind == "lock":
        student.lock = threading.Lock()
    with pytest.raises(ValueError, match=message):
        quick(tmp_path / "run", {"student": student}, "pgd_at")
    assert not (tmp_path / "run").exists()


def test_a_parameter_without_values_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="'1.weight' of its state dict is a parameter without values: run the network"):
        models.save(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), tmp_path / "a.safetensors")


WRONG = {
    "two": (lambda z, x: (z, z), r"it returns a tuple with 2 tensors that may be them \(\[2, 4\] and \[2, 4\]\)"),
    "none": (lambda z, x: {"maps": x}, r"it returns a dict with 0 tensors that may be them \(none\)"),
    "nothing": (lambda z, x: None, "it returns a NoneType"),
    "a row": (lambda z, x: z[:, 0], r"it returns shape \[2\]"),
    "maps": (lambda z, x: {"logits": x}, "it returns a dict"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_may_not_be_the_logits_is_refused_at_every_door(kind, batch, tmp_path):
    change, message = WRONG[kind]
    network = Returns(Net(), change)
    with pytest.raises(ValueError, match=rf"The student must return logits \[B, K\], {message}"):
        loss(PGDAT(), network, *batch)
    with pytest.raises(ValueError, match=rf"The robust teacher must return logits \[B, K\], {message}"):
        loss(RSLAD(), Net(), *batch, robust=network)
    with pytest.raises(ValueError, match=rf"The model must return logits \[B, K\], {message}"):
        evaluate(network, TEST, Linf(0.1), "clean")
    with pytest.raises(ValueError, match=rf"The student must return logits \[B, K\], {message}"):
        quick(tmp_path / "run", {"student": network}, "pgd_at")
    assert not (tmp_path / "run").exists()


def test_the_rule():
    z, wide = torch.rand(2, 4), torch.rand(2, 7)
    assert logits_of(z) is z and logits_of({"logits": z, "features": wide}) is z
    assert logits_of((torch.zeros(2, 4, dtype=torch.int64), z)) is z  # labels are no logits
    assert logits_of(Named(wide, z)) is z


class NoGrad(Net):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class NoGradBelow(Net):
    def forward(self, x):
        with torch.no_grad():
            features = torch.tanh(self.norm(self.conv(x))).mean((2, 3))
        return self.head(features)


class Overwrites(Net):
    def forward(self, x):
        x -= 0.5
        return super().forward(x)


def test_no_gradient_is_a_sentence(batch):
    for method in (PGDAT(), Standard()):
        with pytest.raises(ValueError, match="The student's logits have no gradient: its forward pass runs under"):
            loss(method, NoGrad(), *batch)
    with pytest.raises(ValueError, match="PGD needs a gradient"):
        loss(PGDAT(), NoGradBelow(), *batch)
    with pytest.raises(ValueError, match="The robust teacher gives no gradient with respect to x', which the attack"):
        loss(AdaAD(), Net(), *batch, robust=NoGrad())
    with pytest.raises(ValueError, match="pgd-20 needs a gradient"):
        evaluate(NoGrad(), TEST, Linf(0.1), "pgd-20")
    assert loss(Standard(), NoGradBelow(), *batch).requires_grad
    assert loss(RSLAD(), Net(), *batch, robust=NoGrad()).requires_grad  # the teacher is run only at x


def test_an_input_changed_in_place_is_a_sentence(batch):
    x, y = batch
    before = x.clone()
    with pytest.raises(ValueError, match="The student changes its input in place.*Write x = x - mean"):
        loss(PGDAT(), Overwrites(), x, y)
    with pytest.raises(ValueError, match="The robust teacher changes its input in place"):
        loss(RSLAD(), Net(), x, y, robust=Overwrites())
    with pytest.raises(ValueError, match="The model changes its input in place"):
        evaluate(Overwrites(), TEST, Linf(0.1), "clean")
    assert torch.equal(x, before)


@pytest.mark.parametrize("given", ["runs/x", Net().state_dict(), Net, abs], ids=["name", "weights", "class", "other"])
def test_what_is_no_module_is_refused_with_what_to_do(given, tiny, batch, tmp_path):
    for what, action in {
        "student": lambda: Distiller("pgd_at")(given, *batch),
        "robust teacher": lambda: Distiller("rslad", given),
        "model": lambda: evaluate(given, TEST),
    }.items():
        with pytest.raises(ValueError, match=f"The {what} must be a torch.nn.Module, got a"):
            action()
    with pytest.raises(ValueError, match=r"The student must be a torch.nn.Module"):
        quick(tmp_path / "run", {"student": given}, "pgd_at")


def test_the_student_is_not_its_own_teacher(tiny, batch):
    student = tiny()
    with pytest.raises(ValueError, match=r"The robust teacher is the student itself. Give a copy of it: copy.deepcopy"):
        Distiller(RSLAD(), student)(student, *batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_another_precision_is_one_true_sentence(dtype, batch):
    x, y = batch
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"student has weights of float32, the images are {name}.*x.to\(torch"):
        loss(PGDAT(), Net(), x.to(dtype), y)
    with pytest.raises(ValueError, match=rf"teacher has weights of {name}, the images.*teacher with .to\(torch"):
        loss(RSLAD(), Net(), x, y, robust=Net().to(dtype))
    assert evaluate(Net().to(dtype), TEST, Linf(0.1), "clean").measurements[0].n == 40


def test_probabilities_in_place_of_logits_are_hinted_at(batch):
    soft = Returns(Net(), lambda z, x: z.softmax(1))
    with pytest.warns(UserWarning, match="outputs of the student look like probabilities.*remove the softmax"):
        loss(PGDAT(), soft, *batch)
    with pytest.warns(UserWarning, match="outputs of the robust teacher look like probabilities"):
        loss(RSLAD(), Net(), *batch, robust=soft)
    with pytest.warns(UserWarning, match="outputs of the model look like probabilities"):
        evaluate(soft, TEST, Linf(0.1), "clean")


def test_images_of_0_to_255_are_told_from_normalised_ones(batch):
    x, y = batch
    with pytest.raises(ValueError, match=r"\[0, 1\]; this batch spans .*Divide pixels of 0..255 by 255: x / 255"):
        loss(PGDAT(), Net(), x * 255, y)
    with pytest.raises(ValueError, match=r"Images must be floats.*uint8.*x.float\(\) / 255"):
        loss(PGDAT(), Net(), (x * 255).byte(), y)
    with pytest.raises(ValueError, match=r"spans \[-.*Normalisation belongs inside the model"):
        loss(PGDAT(), Net(), 4 * x - 2, y)
    with pytest.raises(ValueError, match="Images must be floats .*got a list"):
        loss(PGDAT(), Net(), x.tolist(), y)


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("name", ALL)
def test_every_method_takes_labels_of_every_integer_type(name, batch):
    x, y = batch
    found = []
    for dtype in (torch.int64, *INTEGERS):
        student, teacher, clean, peer = four(Tiny).values()
        distiller = Distiller(name, teacher, clean, ATTACK, peer=peer)
        distiller(student, x, y.to(dtype), rng=Rng(3))
        found.append(distiller(student, x, y.to(dtype), rng=Rng(4)))  # the first batch is checked, the second is not
    assert all(torch.equal(one, found[0]) for one in found)


LABELS = {
    "column": (lambda y: y[:, None], r"torch.int64 \[6, 1\]. Give y\[:, 0\]"),
    "one-hot": (lambda y: F.one_hot(y, 4), r"torch.int64 \[6, 4\]. One-hot labels become numbers by y.argmax\(1\)"),
    "mixed": (lambda y: F.one_hot(y, 4).float(), r"torch.float32 \[6, 4\]. One-hot labels become numbers"),
    "float": (lambda y: y.float(), r"torch.float32 \[6\]. Give y.long\(\)"),
    "bool": (lambda y: y > 1, r"torch.bool \[6\]. Give y.long\(\)"),
    "list": (lambda y: y.tolist(), r"a list. Give a tensor: torch.as_tensor\(y\)"),
    "numpy": (lambda y: y.numpy(), r"a ndarray. Give a tensor"),
    "too few": (lambda y: y[:4], r"torch.int64 \[4\]. Give one number for each image"),
    "one number": (lambda y: y[0], r"torch.int64 \[\]. Give one number for each image"),
    "nothing": (lambda y: None, "a NoneType"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", ALL)
def test_every_method_refuses_other_labels_with_the_same_sentence(name, kind, batch):
    (x, y), (change, message) = batch, LABELS[kind]
    student, teacher, clean, peer = four(Tiny).values()
    distiller = Distiller(name, teacher, clean, ATTACK, peer=peer)
    for _ in range(2):  # at the first batch, and at a later one
        with pytest.raises(ValueError, match=rf"Labels must be the numbers of classes, integers \[B\] .*{message}"):
            distiller(student, x, change(y))
        distiller.prepare(student, x, y)


def test_a_method_may_be_given_by_name(tiny, batch):
    by_name, by_object = (loss(method, tiny(), *batch, robust=tiny(1)) for method in ("rslad", RSLAD()))
    assert torch.equal(by_name, by_object)
    for given, message in [
        ("rsald", "Unknown method 'rsald'. Did you mean 'rslad'"),
        (RSLAD, r"RSLAD is no method; give RSLAD\(\)"),
        (3, "int is no method; give a method such as"),
        (method_named("adaad+igdm").term, r"IGDM\(.*\) is a term; add it to a method, as in RSLAD\(\) \+ IGDM"),
    ]:
        with pytest.raises(ValueError, match=message):
            Distiller(given, tiny(1))


class Switches(PGDAT):
    """Sets the student's mode, as much released code does."""

    def inner(self, batch):
        batch.student.eval()
        return super().inner(batch)


def test_a_method_that_sets_the_mode_of_a_network_is_told(tiny, batch):
    with pytest.raises(ValueError, match="have no mode to set: the attack runs in the method's student_mode"):
        loss(Switches(), tiny(), *batch)


def test_a_threat_may_be_text_or_a_number():
    network = Net()
    found = [evaluate(network, TEST, given, "clean").threat for given in ("8/255", "Linf 8/255", "linf 8/255", 8 / 255)]
    assert found == ["Linf 8/255"] * 4 and evaluate(network, TEST, "l2 0.5", "clean").threat == "L2 0.5"
    assert PGD(1, 0.1, "0.2") == PGD(1, 0.1, Linf(0.2))
    for given, message in {
        "foo": "eps must be a number", 8: "Did you mean '8/255'", "l3 1": "Unknown norm", (1,): "A threat model is",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            evaluate(network, TEST, given, "clean")


def test_a_network_without_values_is_refused_at_every_door(batch):
    empty = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    said = "no values yet: its parameter '1.weight' is empty. Run it once on two images first"
    for door in (lambda: evaluate(empty, TEST), lambda: Distiller("pgd_at")(empty, *batch),
                 lambda: Distiller("rslad", empty)):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            door()


def on_meta(part=False):
    network = Net()
    (network.head if part else network).to("meta")
    return network


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao warns that it will move
        return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}, torch.qint8)


@pytest.mark.parametrize("part", [False, True])
def test_a_network_on_the_meta_device_is_refused_at_every_door(batch, part, tmp_path):
    doors = (
        lambda: evaluate(on_meta(part), TEST), lambda: Distiller("pgd_at")(on_meta(part), *batch),
        lambda: evaluate(Net(), TEST, suite="transfer-pgd-20-trades", surrogate=on_meta(part)),
        lambda: Distiller("rslad", on_meta(part)), lambda: build("onnx", on_meta(part), (1, 4, 4), batch[0]),
        lambda: build("safetensors", on_meta(part), (1, 4, 4), batch[0]),
        lambda: quick(tmp_path, {"student": on_meta(part)}, "pgd_at"),
        lambda: quick(tmp_path, {"student": Net(), "teacher": on_meta(part)}, "rslad"),
    )  # fmt: skip
    said = r"has no values: its '(conv|head).weight' is on the meta device.*network.to_empty\(device='cpu'\), then netw"
    for door in doors:
        with pytest.raises(ValueError, match=said):
            door()


ROWS = {
    "one for all": (lambda z, x: z.mean(0, keepdim=True), r"for \d+ images it returns shape \[1, 4\]"),
    "two for each": (lambda z, x: torch.cat([z, z]), r"for \d+ images it returns shape \[\d+, 4\]"),
    "none": (lambda z, x: z.mean(0), r"it returns shape \[4\]"),
}


@pytest.mark.parametrize("rows", ROWS)
def test_a_network_without_a_row_for_each_image_is_refused_at_every_door(batch, rows):
    form, said = ROWS[rows]
    network = Returns(Net(), form)
    doors = (
        lambda: evaluate(network, TEST, suite="clean"), lambda: Distiller("pgd_at", attack=ATTACK)(network, *batch),
        lambda: evaluate(Net(), TEST, suite="transfer-pgd-20-trades", surrogate=network),
        lambda: Distiller("rslad", network, attack=ATTACK)(Net(), *batch),
        lambda: predictions(network, TEST), lambda: build("onnx", network.eval(), (1, 4, 4), batch[0]),
    )  # fmt: skip
    for door in doors:
        with pytest.raises(ValueError, match=rf"must return logits \[B, K\],.*{said}"):
            door()


class MixesMany(nn.Module):
    """Returns logits of the right shape for two images, as in the first call, and not for more."""

    def __init__(self):
        super().__init__()
        self.network = Net()

    def forward(self, x):
        logits = self.network(x)
        return logits if len(x) == 2 else logits.mean(0, keepdim=True)


def test_the_rows_are_counted_at_every_pass(batch):
    with pytest.raises(ValueError, match=r"for 40 images it returns shape \[1, 4\]"):
        evaluate(MixesMany(), TEST, suite="clean")
    with pytest.raises(ValueError, match=r"for \d images it returns shape \[1, 4\]"):
        Distiller("rslad", MixesMany(), attack=ATTACK)(Net(), *batch)


def test_a_dynamically_quantised_network_is_evaluated_without_gradients_and_taught_by(batch):
    network = quantised()
    found = evaluate(network, TEST, suite="clean,square-100")
    assert found["clean"].correct == int((network(TEST.images.float() / 255).argmax(1) == TEST.labels).sum())
    assert found["square-100"].no_gradient is None
    Distiller("rslad", quantised(), attack=ATTACK)(Net(), *batch).backward()  # which needs no gradient of it
    said = r"needs a gradient, and the model's logits have none .*an int8 layer\). Square needs none"
    for door in (
        lambda: evaluate(network, TEST, suite="pgd-20"), lambda: evaluate(network, TEST, "l2 0.5", suite="pgd-20"),
        lambda: Distiller("pgd_at", attack=ATTACK)(quantised(), *batch), lambda: robust_curve(network, TEST, [0.1]),
        lambda: gradient_alignment(network, Net(), TEST),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            door()
    for kind in ("onnx", "torch-export"):
        with pytest.raises(ValueError, match=f"Net cannot be exported as {kind}: .*Export the float network"):
            build(kind, quantised(), (1, 4, 4), batch[0])
    with pytest.raises(ValueError, match="Net cannot be saved: 'head._packed_params.dtype' of its state dict"):
        models.save(quantised(), "never.safetensors")


def test_whole_numbers_are_no_logits():
    with pytest.raises(ValueError, match=r"must return logits \[B, K\], it returns shape \[2, 3\] of torch.int64"):
        logits_of(torch.zeros(2, 3, dtype=torch.long))
