"""Users' own attacks in an evaluation: measured, checked, resumed, shared and reported like ours."""

import random
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import foolbox
import numpy as np
import pytest
import torch
from children import PATIENCE, Child, advdistill, free_port
from conftest import ENV, ROOT
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import advdistill as ad
from advdistill import L2, Linf, Result, data, evaluate, models
from advdistill._internal.rng import ImageRng
from advdistill.attacks.base import Attack, Outcome
from advdistill.attacks.custom import CallableAttack, from_python
from advdistill.attacks.settings import plain
from advdistill.data.batches import to_float
from advdistill.losses import cross_entropy
from advdistill.report.compare import mismatches

EXAMPLE = ROOT / "examples" / "own_attack.py"
THREAT = Linf(0.1)
BLOCK = 64  # images per block of an evaluation here, whatever its batch size
pytestmark = pytest.mark.usefixtures("blocks_of_64")


@pytest.fixture(scope="module")
def model(teacher):
    return models.load(teacher).eval()


@pytest.fixture(scope="module")
def test():
    return data.load("digits", "test").first(100)


def noise(model, x, y, *, rng, size=0.1):
    return (x + size * (2 * rng.uniform(x) - 1)).clamp(0, 1)


def careless(model, x, y, *, rng):
    """Draws from every global generator, changes what it is given, and leaves the model in train mode."""
    model.train()
    x += (2 * torch.rand_like(x) - 1) * (1 + random.random() + float(np.random.rand())) / 2
    y.zero_()
    return x.clamp_(0, 1)


class Returns(Attack):
    """An attack that returns `change(x)`."""

    name = "returns"

    def __init__(self, change):
        self.change = change

    def __call__(self, model, x, y, *, rng):
        return self.change(x)


def batches(split, size=BLOCK, seed=0):
    """Batches as in an evaluation: images, labels and random generator."""
    x, y = to_float(split.images), split.labels
    return [
        (x[start : start + size], y[start : start + size], drawing(start, len(x[start : start + size]), seed))
        for start in range(0, len(x), size)
    ]


def drawing(start, images, seed=0):
    return ImageRng(seed, "attack", places=range(start, start + images))


def by_hand(attack, model, split):
    """Which images are classified correctly, clean and attacked: x is an admissible x' too."""
    found = ((x.clone(), y, attack(model, x, y, rng=rng)) for x, y, rng in batches(split))
    return torch.cat([(model(x_adv).argmax(1) == y) & (model(x).argmax(1) == y) for x, y, x_adv in found])


def verdicts(path):
    return {name: tensor for name, tensor in load_file(path).items() if not name.endswith(".seconds")}


def test_a_function_is_an_attack(model, test, tmp_path):
    keep = tmp_path / "v.safetensors"
    result = evaluate(model, test, THREAT, attacks=["clean", noise], batch_size=40, keep=keep)
    right = by_hand(noise, model, test)
    assert [m.attack for m in result.measurements] == ["clean", "noise"]
    assert torch.equal(load_file(keep)["noise"].bool(), right) and result["noise"].correct == right.sum()
    assert result["noise"].settings == "size 0.1" and result["noise"].outside == 0


def test_whatever_it_draws_from_and_changes_the_verdict_is_a_function_of_seed_and_batch(model, test, tmp_path):
    images = [tmp_path / "first", tmp_path / "again", tmp_path / "seed"]
    for folder, seed in zip(images, (0, 0, 1), strict=True):
        for draw in (random.random, np.random.rand, lambda: torch.rand(1)) if folder.name == "again" else ():
            draw()
        kept = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
        evaluate(model, test, Linf(1.0), attacks=["clean", careless], seed=seed, batch_size=50, keep_images=folder)
        assert random.getstate() == kept[0] and np.array_equal(np.random.get_state()[1], kept[1])
        assert torch.equal(torch.get_rng_state(), kept[2])
    first, again, other = (load_file(folder / "careless.000000.safetensors") for folder in images)
    assert len(first["x_adv"]) > 10 and torch.equal(first["x_adv"], again["x_adv"])
    assert first["x_adv"].shape != other["x_adv"].shape or not torch.equal(first["x_adv"], other["x_adv"])


def test_a_careless_attack_neither_hides_its_distance_nor_changes_labels_or_the_model(test, model):
    def far(model, x, y, *, rng):
        model.train()
        y.zero_()
        return x.add_(0.5).clamp_(0, 1)  # in place: x' - x would be 0

    result = evaluate(model, test, THREAT, attacks=["clean", far, "pgd-20"])
    plain_result = evaluate(model, test, THREAT, "clean,pgd-20")
    assert result["far"].correct == result["clean"].correct == plain_result["clean"].correct
    assert result["pgd-20"].correct == plain_result["pgd-20"].correct
    assert result["far"].outside == 100


@pytest.mark.parametrize(("change", "said"), [
    (lambda x: x * float("nan"), "returns returns x' that are NaN or infinite"),
    (lambda x: x[:, 0], r"returns must return x' of shape \[2, 1, 8, 8\], it returns \[2, 8, 8\]"),
    (lambda x: x.double(), r"returns must return x' in torch.float32, it returns torch.float64; convert: x_adv.to\(x"),
    (lambda x: x.half(), "returns must return x' in torch.float32, it returns torch.float16"),
    (lambda x: x.to("meta"), "returns must return x' on cpu, it returns it on meta"),
    (lambda x: x.numpy(), "returns must return x' as a tensor, it returns a ndarray"),
    (lambda x: None, "returns must return x' as a tensor, it returns a NoneType"),
])  # fmt: skip
def test_what_is_no_image_is_a_sentence_before_anything_else_is_attacked(model, test, change, said):
    attacked = []

    def counted(model, x, y, *, rng):
        attacked.append(len(x))
        return x

    with pytest.raises(ValueError, match=said):
        evaluate(model, test, THREAT, attacks=["clean", counted, Returns(change)])
    assert attacked == [2]


def test_nan_that_comes_later_is_named_too(model, test):
    later = Returns(lambda x: x * float("nan") if len(x) == BLOCK else x)
    with pytest.raises(ValueError, match="returns returns x' that are NaN"):
        evaluate(model, test, THREAT, attacks=[later], batch_size=30)


class Detached(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.detach())


def one_step(model, x, y, *, rng):
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(x), y).sum(), x)
    return (x + 0.1 * gradient.sign()).clamp(0, 1)


def backward(model, x, y, *, rng):
    x.requires_grad_()
    cross_entropy(model(x), y).sum().backward()
    return (x + 0.1 * x.grad.sign()).clamp(0, 1)


@pytest.mark.parametrize("attack", [one_step, backward, "pgd-20", ad.attacks.foolbox(foolbox.attacks.FGSM(), THREAT)])
def test_an_attack_that_needs_gradients_of_a_model_without_any_is_a_sentence(model, test, attack):
    name = attack if isinstance(attack, str) else getattr(attack, "__name__", None) or attack.name
    with pytest.raises(ValueError, match=f"{name} needs a gradient, and the model's logits have none"):
        evaluate(Detached(model), test, THREAT, attacks=[attack])
    assert evaluate(Detached(model), test, THREAT, attacks=[noise])["noise"].n == 100


def test_gradients_are_on_whoever_calls(model, test):
    with torch.no_grad():
        within = evaluate(model, test, THREAT, attacks=[one_step])["one_step"]
    assert within.correct == evaluate(model, test, THREAT, attacks=[one_step])["one_step"].correct


def test_another_error_is_left_as_it_is(model, test):
    def broken(model, x, y, *, rng):
        raise RuntimeError("out of memory, say")

    with pytest.raises(RuntimeError, match="out of memory, say"):
        evaluate(model, test, THREAT, attacks=[broken])


class Half(Attack):
    """An attack that leaves the first half of a batch unchanged and exceeds eps on the second."""

    name = "half"

    def __call__(self, model, x, y, *, rng):
        x[len(x) // 2 :] = 1 - x[len(x) // 2 :]
        return x


def test_those_outside_are_counted_and_said(model, test, tmp_path, blocks):
    blocks(20)
    lines, keep = [], tmp_path / "v.safetensors"
    result = evaluate(model, test, THREAT, attacks=["clean", Half()], batch_size=20, report=lines.append, keep=keep)
    assert result["half"].outside == 50 and result["half"].correct == result["clean"].correct
    assert load_file(keep)["half.outside"].tolist() == 5 * (10 * [0] + 10 * [1])
    said = "x' of 50 of 100 images are outside the threat model or [0, 1] and break nothing"
    assert lines[-1] == f"half: {said} (Linf 0.1)" and result["half"].remark == said
    assert not any("first x' are all outside" in line for line in lines)
    result.save(tmp_path / "r.json")
    assert Result.load(tmp_path / "r.json") == result and mismatches([result, result]) == []
    again = evaluate(model, test, THREAT, attacks=["clean", Half()], batch_size=20, keep=keep)
    assert again["half"] == result["half"]
    assert result["clean"].outside == 0 and result["clean"].remark == ""


def test_where_all_are_outside_it_is_said_before_the_rest_is_spent(model, test):
    lines = []
    evaluate(model, test, THREAT, attacks=["pgd-20", CallableAttack("far", lambda m, x, y, rng: 1 - x)],
             report=lines.append)  # fmt: skip
    assert lines[0] == (
        "far: its first x' are all outside Linf 0.1 or [0, 1], up to 1 from x, and such an x' breaks nothing. Does the "
        "attack have the evaluation's eps?"
    )
    assert lines[1].startswith("pgd-20: ") and lines[-1].startswith("far: x' of 100 of 100 images are outside")


class Claims(Attack):
    """An attack that claims to break every image."""

    name = "claims"

    def __call__(self, model, x, y, *, rng):
        return x

    def outcome(self, model, x, y, *, attacked, rng, report):
        return Outcome(x, torch.zeros(len(x), dtype=torch.bool))


def test_what_an_attack_claims_is_evaluated_again(model, test):
    result = evaluate(model, test, THREAT, attacks=["clean", Claims()])
    assert result["claims"].correct == result["clean"].correct > 80


class Stepped(Attack):
    name = "stepped"
    steps = 3

    def __init__(self, **values):
        self.__dict__ |= values

    def __call__(self, model, x, y, *, rng):
        return x


def test_settings_are_data_and_tell_two_attacks_apart(model, test, tmp_path):
    assert Stepped(eps=8 / 255, rates=(0.1, 0.2)).settings == {"steps": 3, "eps": 8 / 255, "rates": [0.1, 0.2]}
    assert Stepped(eps=8 / 255).describe(10) == "eps 8/255, steps 3"
    assert type("Five", (Stepped,), {"steps": 5})().settings == {"steps": 5}
    keep = tmp_path / "v.safetensors"
    first = evaluate(model, test, THREAT, attacks=[Stepped(eps=0.1)], keep=keep)
    assert first["stepped"].settings == "eps 0.1, steps 3"
    for other in (Stepped(eps=0.2), Stepped(eps=0.1, more=1), type("Five", (Stepped,), {"steps": 5})(eps=0.1)):
        with pytest.raises(ValueError, match=r"another kind \(attack stepped differ\)"):
            evaluate(model, test, THREAT, attacks=[other], keep=keep)
    assert evaluate(model, test, THREAT, attacks=[Stepped(eps=0.1)], keep=keep)["stepped"] == first["stepped"]


def test_settings_are_the_same_in_every_process(model):
    class Thing:
        pass

    assert plain(Thing()).endswith("Thing object>") and "0x" not in plain(Thing())
    assert plain(noise) == "noise" and plain({"a": (1, None)}) == {"a": [1, None]}
    ones, twos = torch.ones(2), 2 * torch.ones(2)
    assert plain(ones) == plain(ones.clone()) != plain(twos) and plain(ones).startswith("tensor [2] ")
    assert plain(model).startswith("ConvNet ") and plain(L2(0.5)) == "L2 0.5"


def test_what_is_no_attack_is_refused_before_anything_is_attacked(model, test):
    def older(model, x, y):
        return x

    for given, said in [
        (older, r"older is called as attack\(model, x, y, rng=...\), which it does not take: .* \(model, x, y\)"),
        (Stepped, r"Stepped is a class; give an attack made from it, Stepped\(...\)"),
        (type("Unnamed", (Attack,), {})(), "An attack is a name or .*; got .*; Unnamed has no name"),
        (7, "An attack is a name or an advdistill.attacks.base.Attack; got 7"),
    ]:
        with pytest.raises(TypeError, match=said):
            evaluate(model, test, THREAT, attacks=["pgd-20", given])
    with pytest.raises(NotImplementedError, match=r"Nothing has no __call__\(model, x, y, \*, rng\)"):
        evaluate(model, test, THREAT, attacks=[type("Nothing", (Attack,), {"name": "nothing"})()])


class Object:
    """An attack with a name that is not derived from `Attack`."""

    name, _secret = "object", 1

    def __init__(self, size):
        self.size = size

    def __call__(self, model, x, y, *, rng):
        return noise(model, x, y, rng=rng, size=self.size)


def test_an_object_with_a_name_is_an_attack(model, test):
    found = evaluate(model, test, THREAT, attacks=[Object(0.1), CallableAttack("again", noise, {"size": 0.1})])
    assert [(m.attack, m.settings) for m in found.measurements] == [("object", "size 0.1"), ("again", "size 0.1")]
    assert found["object"].correct == found["again"].correct


class Transferred(Stepped):
    name, transferred = "transferred", True

    def __call__(self, model, x, y, *, rng):
        return one_step(model, x, y, rng=rng)


def test_an_own_attack_searches_on_the_surrogate_or_the_fast_copy_if_that_is_asked_for(model, test, tmp_path, blocks):
    blocks(100)
    torch.manual_seed(0)
    other, keep = models.create("convnet-4", 10, 1), tmp_path / "v.safetensors"
    result = evaluate(model, test, THREAT, attacks=[Transferred()], surrogate=other, keep=keep)
    x, y, rng = batches(test, 100)[0]
    clean = model(x).argmax(1) == y
    right = clean & (model(one_step(other.eval(), x.clone(), y, rng=rng)).argmax(1) == y)
    assert torch.equal(load_file(keep)["transferred"].bool(), right)
    assert "transferred from a model of weights" in result["transferred"].settings
    with pytest.raises(ValueError, match="transferred takes its adversarial images from another model"):
        evaluate(model, test, THREAT, attacks=[Transferred()])
    fast = evaluate(model, test, THREAT, attacks=["clean", one_step], accelerated=True)
    assert "searched in" in fast["one_step"].settings and fast["one_step"].correct < fast["clean"].correct


def test_a_name_of_python_means_a_function_an_attack_or_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_attacks.py").write_text(
        EXAMPLE.read_text() + "\nmade = Momentum(ad.Linf(0.3), 4)\n\n\ndef make(threat, steps=2):\n    "
        "return Momentum(threat, steps)\n\n\ndef fixed():\n    return noise\n\n\nnumber = 7\n"
    )
    found = from_python("own_attacks:Momentum", Linf(0.2))
    assert (found.name, found.threat, found.steps) == ("momentum", Linf(0.2), 10)
    assert from_python("own_attacks:Momentum", Linf(0.2), {"steps": 3}).steps == 3
    assert from_python("own_attacks:Momentum", Linf(0.2), {"threat": Linf(0.1)}).threat == Linf(0.1)
    assert from_python("own_attacks:made", Linf(0.2)).threat == Linf(0.3)
    assert from_python("own_attacks:make", Linf(0.2)).settings == {"threat": "Linf 0.2", "steps": 2, "decay": 1.0}
    assert from_python("own_attacks:fixed", Linf(0.2)).name == "noise"
    assert from_python("own_attacks:noise", Linf(0.2), {"size": 0.3}).settings == {"size": 0.3}
    for name, options, said in [
        ("own_attacks:number", {}, "own_attacks:number must be an attack, a function called as .*; got 7"),
        ("own_attacks:Momentum", {"stps": 3}, "own_attacks:Momentum must be .*unexpected keyword argument 'stps'"),
        ("own_attacks:made", {"steps": 3}, r"own_attacks:made must .* made already, and takes no settings \(steps\)"),
        ("own_attacks:noise", {"sise": 3}, "own_attacks:noise must be an attack"),
        ("own_attacks:Momentun", {}, "Unknown name in 'own_attacks' 'Momentun'. Did you mean 'Momentum'"),
        ("no_attacks:X", {}, "Cannot import 'no_attacks' for 'no_attacks:X'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            from_python(name, Linf(0.2), options)
    monkeypatch.setenv("ADVDISTILL_NO_PYTHON_REFS", "1")
    with pytest.raises(ValueError, match="would run Python code"):
        from_python("own_attacks:noise", Linf(0.2))


@pytest.mark.parametrize(("attack", "threat"), [
    (foolbox.attacks.LinfPGD(steps=5, random_start=True), THREAT),
    (foolbox.attacks.LinfDeepFoolAttack(steps=10), THREAT),
    (foolbox.attacks.L2PGD(steps=5), L2(0.5)),
    (foolbox.attacks.L2FMNAttack(steps=10), L2(0.5)),
    (foolbox.attacks.LinfRepeatedAdditiveUniformNoiseAttack(repeats=9), Linf(0.4)),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_an_attack_of_foolbox_gives_the_verdicts_of_foolbox_called_by_hand(model, test, tmp_path, attack, threat):
    keep, wrapped = tmp_path / "v.safetensors", foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    result = evaluate(
        model, test, threat, attacks=["clean", ad.attacks.foolbox(attack, threat, name="fb")], batch_size=40, keep=keep
    )
    right = []
    for x, y, rng in batches(test):
        torch.manual_seed(rng.seed)
        x_adv = attack(wrapped, x, y, epsilons=threat.eps)[1]
        right.append((model(x_adv).argmax(1) == y) & (model(x).argmax(1) == y))
    assert torch.equal(load_file(keep)["fb"].bool(), torch.cat(right))
    assert result["fb"].correct < result["clean"].correct and result["fb"].outside == 0
    assert result["fb"].settings == f"{plain(attack)}, eps {threat.eps}" and type(attack).__name__ in plain(attack)
    assert result.versions["foolbox"] == foolbox.__version__
    (x, y, rng), _ = batches(test)
    found = ad.attacks.foolbox(attack, threat)(model, x, y, rng=rng)
    assert torch.equal(right[0], (model(found).argmax(1) == y) & (model(x).argmax(1) == y))


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
def test_an_attack_of_foolbox_that_draws_from_numpy_can_be_resumed(model, test, tmp_path):
    spatial = foolbox.attacks.SpatialAttack(grid_search=False, random_steps=3)
    attack = ad.attacks.foolbox(spatial, 0.3)
    wanted = [evaluate(model, test.first(20), Linf(1.0), attacks=[attack], batch_size=10,
                       keep=tmp_path / name, keep_images=tmp_path / f"{name}.adv") for name in "ab"]  # fmt: skip
    assert wanted[0][attack.name].correct == wanted[1][attack.name].correct
    for file in sorted((tmp_path / "a.adv").iterdir()):
        assert torch.equal(load_file(file)["x_adv"], load_file(tmp_path / "b.adv" / file.name)["x_adv"])


def test_what_foolbox_cannot_do_here_is_a_sentence(without):
    fb = foolbox.attacks
    with pytest.raises(TypeError, match=r"accepts an instance of a Foolbox attack, such as .*LinfPGD\(steps=20\); got"):
        ad.attacks.foolbox(fb.LinfPGD, THREAT)
    with pytest.raises(ValueError, match="L2ProjectedGradientDescentAttack is bounded in L2, the threat model is Linf"):
        ad.attacks.foolbox(fb.L2PGD(), THREAT)
    with pytest.raises(ValueError, match="L1ProjectedGradientDescentAttack is bounded in L1, the threat model is L2"):
        ad.attacks.foolbox(fb.L1PGD(), L2(0.5))
    with pytest.raises(ValueError, match="InversionAttack does not say in which norm it is bounded; give it distance="):
        ad.attacks.foolbox(fb.InversionAttack(), THREAT)
    assert ad.attacks.foolbox(fb.InversionAttack(distance=foolbox.distances.linf), THREAT).eps == 0.1
    assert ad.attacks.foolbox(fb.L2PGD(), "128/255").eps == 128 / 255
    without("foolbox")
    with pytest.raises(ImportError, match=r'ad.attacks.foolbox needs the package foolbox; .* "advdistill\[foolbox\]"'):
        ad.attacks.foolbox(fb.LinfPGD, THREAT)


@pytest.fixture(scope="module")
def place(tmp_path_factory, teacher):
    """A folder with a checkpoint, attacks in a module, and the uninterrupted evaluation `whole.json`."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(teacher, folder)
    (folder / "my_attacks.py").write_text(MY_ATTACKS)
    done = advdistill(*command("whole.json"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


MY_ATTACKS = EXAMPLE.read_text().split("if __name__")[0] + """
def library(threat):
    import foolbox

    return ad.attacks.foolbox(foolbox.attacks.LinfPGD(steps=10), threat, name="foolbox-pgd")
"""


def command(out, *more):
    attacks = "clean,pgd-20,python:my_attacks:Momentum,python:my_attacks.py:noise,python:my_attacks:library"
    options = ["--data", "digits", "--eps", "0.1", "--attacks", attacks, "--n", "240", "--batch-size", "20"]
    return ["evaluate", "teacher.safetensors", *options, "--out", out, *more]


def test_the_command_line_names_attacks_of_ones_own(place, model, monkeypatch):
    result = Result.load(place / "whole.json")
    assert [m.attack for m in result.measurements] == ["clean", "pgd-20", "momentum", "noise", "foolbox-pgd"]
    assert result["momentum"].settings == "threat Linf 0.1, steps 10, decay 1"
    assert "LinfProjectedGradientDescentAttack(" in result["foolbox-pgd"].settings
    split = data.load("digits", "test").first(240)
    names = {"__name__": "my_attacks"}
    monkeypatch.setitem(sys.modules, "my_attacks", SimpleNamespace())  # dataclasses look up their module there
    exec(MY_ATTACKS, names)
    kept = verdicts(place / "whole.verdicts.safetensors")
    for name, attack in (
        ("momentum", names["Momentum"](THREAT)), ("noise", names["noise"]), ("foolbox-pgd", names["library"](THREAT)),
    ):  # fmt: skip
        assert torch.equal(kept[name].bool(), by_hand(attack, model, split)), name
        assert 0 < kept[name].sum() == result[name].correct < result["clean"].correct or name == "noise"


def known(path):
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        return sum(int((file.get_tensor(name) < 255).sum()) for name in ("momentum", "foolbox-pgd") if name in names)


def test_killed_and_continued_it_ends_with_the_verdicts_of_an_unbroken_one(place):
    unfinished = place / "killed.unfinished.safetensors"
    for kill in range(3):
        child = Child(*command("killed.json"), cwd=place)
        child.until(lambda kill=kill: unfinished.exists() and known(unfinished) > 150 * kill)
        child.send(signal.SIGKILL)
        child.wait()
    done = advdistill(*command("killed.json"), cwd=place)
    assert done.returncode == 0, done.stderr
    whole, killed = (verdicts(place / f"{name}.verdicts.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys() and all(torch.equal(whole[name], killed[name]) for name in whole)
    assert not unfinished.exists()


def test_two_processes_give_the_verdicts_of_one(place):
    env, script = ENV | {"MASTER_PORT": str(free_port())}, place / "blocks_of_64.py"  # as in this process
    script.write_text(
        "from advdistill.cli import main\nfrom advdistill.evaluation.context import Context\n"
        "Context.block = 64\nraise SystemExit(main())\n"
    )
    typed = [sys.executable, script, *command("two.json", "--devices", "2")]
    done = subprocess.run(typed, cwd=place, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    whole, two = (verdicts(place / f"{name}.verdicts.safetensors") for name in ("whole", "two"))
    assert whole.keys() == two.keys() and all(torch.equal(whole[name], two[name]) for name in whole)
    results = [Result.load(place / f"{name}.json").measurements for name in ("whole", "two")]
    assert [[(m.attack, m.correct, m.settings) for m in found] for found in results][0] == [
        (m.attack, m.correct, m.settings) for m in results[1]
    ]


def test_compare_and_report_show_them(place):
    done = advdistill("compare", "whole.json", "whole.json", cwd=place)
    assert done.returncode == 0 and "momentum" in done.stdout and "not comparable" not in done.stdout
    done = advdistill("report", "whole.json", "--out", "report.html", cwd=place)
    assert done.returncode == 0, done.stderr
    page = (place / "report.html").read_text()
    assert "momentum" in page and "threat Linf 0.1, steps 10, decay 1" in page and "foolbox-pgd" in page
    done = advdistill("report", "whole.json", "--out", "table.csv", cwd=place)
    rows = (place / "table.csv").read_text()
    assert done.returncode == 0 and "foolbox-pgd,240," in rows and "momentum,240," in rows


def test_the_counted_breaks_of_ones_own_attack_can_be_verified(place):
    shutil.copy(place / "teacher.safetensors", place / "kept.safetensors")
    options = ["--data", "digits", "--eps", "0.1", "--attacks", "clean,python:my_attacks:Momentum", "--n", "60"]
    done = advdistill("evaluate", "kept.safetensors", *options, "--out", "kept.json", "--keep-images", cwd=place)
    assert done.returncode == 0, done.stderr
    done = advdistill("verify", "kept.json", "kept.safetensors", "--data", "digits", cwd=place)
    assert done.returncode == 0 and "momentum" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("attacks", "said"), [
    ("python:my_attacks:Momentun", "Unknown name in 'my_attacks' 'Momentun'. Did you mean 'Momentum'?"),
    ("python:their_attacks:X", "Cannot import 'their_attacks' for 'their_attacks:X'"),
    ("pgd20", "Unknown suite or attack 'pgd20'. Did you mean 'pgd-20'?"),
])  # fmt: skip
def test_a_wrong_name_is_a_sentence_and_leaves_no_file(place, attacks, said):
    done = advdistill("evaluate", "teacher.safetensors", "--data", "digits", "--attacks", attacks, "--out", "no.json",
                      cwd=place)  # fmt: skip
    assert done.returncode == 2 and said in done.stderr and not list(place.glob("no.*"))


def test_python_can_be_forbidden(place):
    done = advdistill(*command("no.json"), "--no-python-refs", cwd=place)
    assert done.returncode == 2 and "'my_attacks:Momentum' would run Python code" in done.stderr


def test_the_example_runs(tmp_path):
    done = subprocess.run([sys.executable, str(EXAMPLE)], cwd=tmp_path, env=ENV, capture_output=True, text=True,
                          timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "momentum: " in done.stdout and "(threat Linf 0.1, steps 20, decay 1)" in done.stdout
    assert "noise: " in done.stdout
