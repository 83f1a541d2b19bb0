"""Users' own attacks in a training: in place of PGD, resumed bit for bit, in several processes."""

import shutil
import signal

import foolbox
import pytest
import torch
import yaml
from children import Child, advdistill, together
from conftest import ROOT, Tiny
from in_processes import main
from safetensors.torch import load_file
from test_state import died, same
from torch import nn
from training import assert_same_path, differences, four, quick, state_of

import advdistill as ad
from advdistill import L2, PGD, PGDAT, RSLAD, Data, Distiller, FairRSLAD, Linf, Recipe, Run, Standard
from advdistill._internal.rng import Rng
from advdistill.attacks import CustomAttack
from advdistill.losses import cross_entropy

THREAT = Linf(0.2)
FILE = """
import torch
from advdistill import PGD
from advdistill.losses import cross_entropy


def as_pgd_at(model, x, y, *, rng, threat, steps=2):
    return PGD(steps, 0.1, threat, "uniform")(lambda z: cross_entropy(model(z), y), x, rng)


def make(threat, steps=2):
    def pgd(model, x, y, *, rng):
        return as_pgd_at(model, x, y, rng=rng, threat=threat, steps=steps)

    return pgd


def careless(model, x, y, *, rng):
    '''Draws from a global generator, by backward(), in another mode.'''
    model.eval()
    x.requires_grad_()
    cross_entropy(model(x), y).sum().backward()
    return (x + 0.2 * torch.rand_like(x) * x.grad.sign()).clamp(0, 1)


def nan(model, x, y, *, rng):
    return x * float("nan")


def detached(model, x, y, *, rng):
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x.detach()).sum(), x)
    return x + gradient


def far(model, x, y, *, rng):
    return 1 - x
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own_training.py"
    path.write_text(FILE)
    return str(path)


def named(file, name="make", **settings):
    return CustomAttack(f"{file}:{name}", THREAT, settings)


def pgd(model, x, y, *, rng):
    return PGD(2, 0.1, THREAT, "uniform")(lambda z: cross_entropy(model(z), y), x, rng)


class Normed(Tiny):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("fast", [None, torch.float32])
def test_an_attack_that_climbs_what_the_method_does_finds_the_same_images(batch, mode, fast):
    student = four(Normed)["student"].train()
    found = []
    for attack in (PGD(2, 0.1, THREAT, "uniform", mode), CustomAttack(pgd, THREAT, student_mode=mode)):
        distiller = Distiller(PGDAT(), attack=attack, fast=fast)
        distiller.prepare(student, *batch)
        statistics = student.hidden[1].running_mean.clone()
        crafted = distiller.craft(student, *batch, rng=Rng(3))
        found.append(crafted.x_adv)
        assert student.training and all(p.requires_grad and p.grad is None for p in student.parameters())
        assert torch.equal(student.hidden[1].running_mean, statistics) == (mode == "eval")
        student.hidden[1].running_mean.copy_(statistics)
    assert torch.equal(*found) and not torch.equal(found[0], batch[0])


def test_a_run_is_that_of_pgd_bit_for_bit(tmp_path, file):
    plain = quick(tmp_path / "pgd", four(Normed), "pgd_at", attack=PGD(2, 0.1, THREAT, "uniform"))
    own = quick(tmp_path / "own", four(Normed), "pgd_at", attack=named(file))
    assert differences(state_of(plain), state_of(own)) == []
    assert differences(load_file(plain.best), load_file(own.best)) == []
    assert own.recipe.attack.attack.name == "pgd" and own.recipe.attack == named(file)


@pytest.mark.parametrize(("name", "method"), [("make", "rslad"), ("careless", "adaad+igdm"), ("careless", "ard")])
def test_killed_at_any_step_it_ends_with_the_bits_of_an_unbroken_run(tmp_path, monkeypatch, file, name, method):
    changes = {"method": method, "attack": named(file, name)}
    whole = quick(tmp_path / "whole", four(Tiny), validate_every=1, **changes)
    for at in (1, 4):
        torch.rand(at)
        died(monkeypatch, tmp_path / "killed", at, **changes)
    assert same(whole, quick(tmp_path / "killed", four(Tiny), validate_every=1, **changes))


@pytest.mark.parametrize("name", ["make", "careless"])
def test_backward_leaves_the_students_gradients_alone(batch, file, name):
    student = four(Tiny)["student"]
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(parameter)
    Distiller(PGDAT(), attack=named(file, name)).craft(student, *batch, rng=Rng(0))
    assert all(torch.equal(p.grad, torch.ones_like(p)) and p.requires_grad for p in student.parameters())


def test_x_adv_is_projected_and_drawn_from_the_batchs_place(batch):
    student, (x, y) = four(Tiny)["student"], batch

    def noise(model, x, y, *, rng):
        return x + 0.21 * (2 * rng.uniform(x) - 1)

    distiller = Distiller(PGDAT(), attack=CustomAttack(noise, THREAT))
    with pytest.warns(UserWarning, match="noise: every x' is outside Linf 0.2"):
        whole = distiller.craft(student, x, y, rng=Rng(7)).x_adv
    expected = x + 0.21 * (2 * Rng(7).uniform(x) - 1)
    assert torch.equal(whole, THREAT.project(expected, x)) and not torch.equal(whole, expected)
    parts = [distiller.craft(student, x[a:b], y[a:b], rng=Rng(7, start=a, total=6)).x_adv for a, b in ((0, 4), (4, 6))]
    assert torch.equal(torch.cat(parts), whole)
    torch.manual_seed(0)
    first = distiller.craft(student, x, y).x_adv
    torch.manual_seed(0)
    assert torch.equal(distiller.craft(student, x, y).x_adv, first)


def test_a_method_that_watches_its_attack_sees_x_adv_once(batch):
    networks, (x, y) = four(Tiny), batch
    distiller = Distiller(FairRSLAD(), networks["teacher"], attack=CustomAttack(pgd, THREAT))
    crafted = distiller.craft(networks["student"], x, y, rng=Rng(0))
    right = networks["student"](crafted.x_adv).argmax(1) == y
    assert torch.equal(crafted.notes["correct"], right.float())


def test_a_method_without_an_attack_has_none(batch):
    called = []

    def counted(model, x, y, *, rng):
        called.append(len(x))
        return x

    student = four(Tiny)["student"]
    crafted = Distiller(Standard(), attack=CustomAttack(counted, THREAT)).craft(student, *batch)
    assert torch.equal(crafted.x_adv, batch[0]) and called == [2]  # only the trial call


def test_foolbox_finds_the_images_of_a_training(batch):
    networks, (x, y) = four(Tiny), batch
    library = foolbox.attacks.LinfPGD(steps=3, abs_stepsize=0.1)
    attack = CustomAttack(ad.attacks.foolbox(library, THREAT), THREAT)
    student = networks["student"].train()
    x_adv = Distiller(RSLAD(), networks["teacher"], attack=attack).craft(student, x, y, rng=Rng(5)).x_adv
    torch.manual_seed(Rng(5).seed)
    wanted = library(foolbox.PyTorchModel(student.eval(), (0, 1), device="cpu"), x, y, epsilons=0.2)[1]
    assert torch.equal(x_adv, THREAT.project(wanted, x)) and not torch.equal(x_adv, x)


@pytest.mark.parametrize(("name", "said"), [
    ("nan", "nan returns x' that are NaN or infinite"),
    ("detached", "detached needs a gradient, and the model's logits have none"),
    ("nothing", "Unknown name in '.*own_training.py' 'nothing'"),
])  # fmt: skip
def test_what_cannot_be_trained_with_is_a_sentence_and_leaves_no_folder(tmp_path, file, name, said):
    with pytest.raises(ValueError, match=said):
        quick(tmp_path / "run", four(Tiny), "rslad", attack=named(file, name))
    assert not (tmp_path / "run").exists()


def test_an_attack_of_another_eps_is_warned_of(batch, file):
    distiller = Distiller(PGDAT(), attack=named(file, "far"))
    with pytest.warns(UserWarning, match=r"far: every x' is outside Linf 0.2 or .*, up to 0.9.* and is projected"):
        crafted = distiller.craft(four(Tiny)["student"], *batch)
    assert THREAT.distance(crafted.x_adv, batch[0]).max() <= 0.2 + 1e-6


def test_what_has_no_effect_or_is_no_data_is_refused(file):
    networks = four(Tiny)
    with pytest.raises(ValueError, match="teacher_every=2 has no effect: a CustomAttack never queries a"):
        Distiller(ad.AdaAD(), networks["teacher"], attack=named(file), teacher_every=2)
    with pytest.raises(ValueError, match=r"A recipe names its attack, as in CustomAttack\('my_mod.*got pgd"):
        Recipe(PGDAT(), attack=CustomAttack(pgd, THREAT))


def test_a_recipe_is_read_back_as_it_was_written(file):
    recipe = Recipe(PGDAT(), attack=CustomAttack(f"python:{file}:make", L2(1), {"steps": 3}), data=Data("digits"))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert yaml.safe_load(recipe.to_yaml())["attack"] == {
        "python": f"{file}:make", "threat": {"l2": "1"}, "settings": {"steps": 3}, "student_mode": None,
    }  # fmt: skip
    text = "attack: {python: 'my_attacks:Momentum', threat: {linf: 8/255}}"
    assert Recipe.from_yaml(text).attack == CustomAttack("my_attacks:Momentum", Linf("8/255"))
    assert Recipe.from_yaml("attack: {steps: 3}").attack == PGD(3)
    for text, said in [
        ("attack: {python: 'a:b', stps: 3}", "Unknown field of recipe: attack 'stps'. .*Known: python, settings, stud"),
        ("attack: {python: 3}", "recipe: attack: python cannot be 3"),
        ("attack: {python: 'a:b', settings: 3}", "recipe: attack: settings cannot be 3"),
    ]:
        with pytest.raises(ValueError, match=said):
            Recipe.from_yaml(text)


def test_two_processes_follow_the_path_of_one(tmp_path, file):
    runs = {"rslad": {"method": "rslad"}, "ard": {"method": "ard"}}  # ard attacks the student in train mode
    custom = {name: changes | {"custom_attack": f"{file}:make"} for name, changes in runs.items()}
    for done in together(2, lambda: main(tmp_path / "2", 2, custom)):
        assert done.returncode == 0, done.stderr
    main(tmp_path / "1", 1, custom)
    for name in runs:
        one, two = Run(tmp_path / "1" / name), Run(tmp_path / "2" / name)
        assert one.recipe.attack.attack.name == "pgd"
        assert_same_path(one, two)


RECIPE = """
method: {rslad: {}}
student: convnet-2
teacher: teacher.safetensors
data: {name: digits, train_images: 192}
attack: {python: "my_attacks:Momentum", threat: {linf: 0.2}, settings: {steps: 2}}
epochs: 2
batch_size: 64
"""


def test_the_command_line_trains_with_an_own_attack_and_resumes(tmp_path, teacher):
    shutil.copy(teacher, tmp_path / "teacher.safetensors")
    (tmp_path / "my_attacks.py").write_text((ROOT / "examples" / "own_attack.py").read_text())
    (tmp_path / "mine.yaml").write_text(RECIPE)
    command = ["train", "mine.yaml", "--suite", "None", "--accelerator", "cpu", "--out"]
    done = advdistill(*command, "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run(tmp_path / "whole")
    assert run.recipe.attack == CustomAttack("my_attacks:Momentum", THREAT, {"steps": 2})
    child = Child(*command, "killed", cwd=tmp_path)
    child.until(lambda: (tmp_path / "killed" / "metrics.jsonl").exists())
    child.send(signal.SIGKILL)
    child.wait()
    done = advdistill(*command, "killed", cwd=tmp_path)
    assert done.returncode == 0 and differences(state_of(run), state_of(Run(tmp_path / "killed"))) == [], done.stderr
    done = advdistill(*command, "whole", "--attack.settings.steps", "3", cwd=tmp_path)
    assert done.returncode == 2 and "attack.settings.steps: 2 in the folder, 3 in this command" in done.stderr
    done = advdistill("train", "mine.yaml", "--threat", "l2", "--attack.threat.eps", "0.5", *command[2:], "l2",
                      "--epochs", "1", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0 and str(Run(tmp_path / "l2").recipe.attack.threat) == "L2 0.5", done.stderr
    done = advdistill("preflight", "mine.yaml", "--accelerator", "cpu", cwd=tmp_path)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    done = advdistill(*command, "no", "--no-python-refs", cwd=tmp_path)
    assert done.returncode == 2 and "would run Python code" in done.stderr and not (tmp_path / "no").exists()
