"""The examples of docs/methods_that_need_more.md: finite and exact losses, bit-for-bit resuming, two processes."""

import pytest
import torch
from children import advdistill, together
from conftest import ROOT, Tiny
from in_processes import main
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from training import (
    assert_same_path,
    died_at_saves,
    differences,
    four,
    further,
    losses_of,
    make_teacher,
    quick,
    quick_data,
    state_of,
)

from advdistill import PGD, AdamW, Distiller, Linf, Recipe, Run, TorchOptimizer, methods, models
from advdistill._internal.imports import import_object
from advdistill._internal.rng import Rng
from advdistill.data.batches import Batches
from advdistill.losses import cross_entropy, kl
from advdistill.train.schedule import rate

FOLDER = ROOT / "examples" / "methods"
LAYERS = {"student_layer": "hidden", "teacher_layer": "hidden"}
METHODS = {
    "feature_matching": {"rslad": {}, f"{FOLDER}/feature_matching.py:FeatureMatching": LAYERS},
    "two_attacks": {f"{FOLDER}/two_attacks.py:TwoAttacks": {}},
    "three_teachers": {f"{FOLDER}/three_teachers.py:ThreeTeachers": {}},
    "noise": {f"{FOLDER}/noise.py:Noise": {}},
    "eps_per_image": {f"{FOLDER}/eps_per_image.py:EpsPerImage": {}},
    "guide": {f"{FOLDER}/guide.py:Guide": {}},
}
ROLES = {"three_teachers": ["second", "third"], "guide": ["guide"]}
RUNS = {name: {"method": method, "roles": ROLES.get(name, [])} for name, method in METHODS.items()}
RUNS["eps_per_image with awp"] = RUNS["eps_per_image"] | {"awp": 0.01}
RUNS["feature_matching with options"] = RUNS["feature_matching"] | {"awp": 0.01, "swa": 0.0, "accumulate": 1}
PARTED = RUNS["eps_per_image"] | {"accumulate": 2}


def run(folder, name, *, changes=None, **options):
    given = {key: value for key, value in (changes or RUNS[name]).items() if key != "roles"}
    networks = four(Tiny) | further(Tiny, *RUNS[name]["roles"])
    return quick(folder, networks, **given, **options)


def test_each_example_has_forty_lines_at_most_and_is_on_the_page():
    page = (ROOT / "docs" / "methods_that_need_more.md").read_text()
    files = sorted(FOLDER.glob("*.py"))
    assert [path.stem for path in files] == sorted(METHODS)
    assert all(len(path.read_text().splitlines()) <= 40 for path in files)
    assert all(f'--8<-- "examples/methods/{path.name}"' in page for path in files)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_died_anywhere_ends_bit_for_bit_the_same(tmp_path, monkeypatch, name):
    whole = run(tmp_path / "whole", name)
    died, _ = died_at_saves(monkeypatch, lambda: run(tmp_path / "died", name), 3, 7, 11)
    assert differences(state_of(whole), state_of(died)) == []
    assert losses_of(whole) == losses_of(died)
    assert all(value == value for row in losses_of(whole) for value in row.values())


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    for done in together(2, lambda: main(folder, 2, RUNS)):
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_follow_the_path_of_one(tmp_path, by_two, name):
    main(tmp_path, 1, {name: dict(RUNS[name])})
    assert_same_path(Run(tmp_path / name), Run(by_two / name))


def made(name, **coefficients):
    """Create the method of an example."""
    ((reference, given),) = (part for part in METHODS[name].items() if ":" in part[0])
    return import_object(reference)(**(given | coefficients))


def stepped(method, batch, teachers=None, index=None, **options):
    """Return networks, distiller, batch and losses of one step of a tiny student; networks are those of `four`."""
    networks = four(Tiny)
    given = {"robust": networks["teacher"]} | (teachers or {})
    roles = {role: net for role, net in given.items() if role in method.teachers}
    distiller = Distiller(method, teachers=roles, attack=PGD(3, 0.05, Linf(0.1)), **options)
    crafted = distiller.craft(networks["student"], *batch, rng=Rng(0), index=index)
    return networks, distiller, crafted, distiller.losses(crafted, networks["student"])


@pytest.mark.parametrize("fast", [None, torch.float32], ids=["plain", "folded"])
def test_features_are_those_of_the_network_and_reach_the_connector(batch, fast):
    method = methods.build("rslad") + made("feature_matching")
    networks, distiller, crafted, losses = stepped(method, batch, fast=fast)
    student, teacher, connector = networks["student"], networks["teacher"], distiller.modules["connector"]
    hidden = [net.hidden(crafted.x_adv.flatten(1)) for net in (student, teacher)]
    expected = (connector(hidden[0]) - hidden[1]).square().flatten(1).mean(1)
    assert_close(losses["features"], expected, rtol=1e-5, atol=1e-6)
    losses["features"].sum().backward()
    assert connector.weight.grad.any() and student.hidden.weight.grad.any() and teacher.hidden.weight.grad is None


def test_a_network_runs_once_for_its_logits_and_its_features(batch):
    passes = []
    method = methods.build("rslad") + made("feature_matching")
    networks = four(Tiny)
    distiller = Distiller(method, networks["teacher"], attack=PGD(2, 0.05, Linf(0.1)))
    crafted = distiller.craft(networks["student"], *batch, rng=Rng(0))
    networks["student"].register_forward_hook(lambda *_: passes.append(1))
    distiller.losses(crafted, networks["student"])
    assert len(passes) == 2  # at x and at x'


def test_two_attacks_are_those_by_hand(batch):
    networks, distiller, crafted, losses = stepped(made("two_attacks"), batch)
    (x, y), student, teacher = batch, networks["student"], networks["teacher"]
    soft = distiller.attack(lambda z: kl(teacher(x), student(z)), x, Rng(0, "soft"))
    hard = distiller.attack(lambda z: cross_entropy(student(z), y), x, Rng(0, "hard"))
    assert torch.equal(crafted.adversarial["soft"], soft) and torch.equal(crafted.adversarial["hard"], hard)
    assert not torch.equal(soft, hard) and torch.equal(crafted.x_adv, soft)
    assert_close(losses["soft"], kl(teacher(x), student(soft)))
    assert_close(losses["hard"], 0.5 * cross_entropy(student(hard), y))


def test_the_mean_of_two_or_three_teachers_is_that_of_their_probabilities(batch):
    others = further(Tiny, "second", "third")["teachers"]
    for roles in (["second"], ["second", "third"]):
        teachers = {role: others[role] for role in roles}
        networks, _, crafted, losses = stepped(made("three_teachers"), batch, teachers)
        used = [networks["teacher"], *teachers.values()]
        mean = sum(net(batch[0]).softmax(1) for net in used) / len(used)
        expected = (mean * (mean.log() - networks["student"](batch[0]).log_softmax(1))).sum(1) / 6
        assert_close(losses["clean"], expected)


def test_the_noise_is_a_function_of_the_rng_and_of_each_images_place(batch):
    x, y = batch
    method = made("noise")
    networks, _, crafted, losses = stepped(method, batch)
    student = networks["student"]
    drawn = Rng(0).child("outer").normal(x)
    noisy = (crafted.x_adv + method.sigma * drawn).clamp(0, 1)
    assert_close(losses["noise"], kl(student(crafted.x_adv), student(noisy)))
    distiller = Distiller(method, attack=PGD(3, 0.05, Linf(0.1)))
    second = distiller.craft(student, x[4:], y[4:], rng=Rng(0, start=4, total=6))
    assert_close(distiller.losses(second, student)["noise"], losses["noise"][4:])
    assert_close(distiller.losses(second, student)["noise"], losses["noise"][4:])  # again, as weight perturbation does


def test_each_image_has_its_eps_and_keeps_it_by_its_index(batch):
    x, y = batch
    method, index = made("eps_per_image"), torch.tensor([5, 0, 3, 1, 4, 7])
    networks, distiller, crafted, _ = stepped(method, batch, index=index)
    assert_close((crafted.x_adv - x).abs().flatten(1).amax(1), torch.full((6,), 0.025), rtol=0, atol=1e-6)
    right = networks["student"](crafted.x_adv).argmax(1) == y
    assert right.any() and not right.all()
    expected = torch.where(right, 0.05, 0.0)
    assert_close(method.recall(crafted, "eps", 0.025), expected)
    other = distiller.craft(networks["student"], x, y, rng=Rng(1), index=torch.arange(6))
    # image 2 is not known yet, images 5, 0, 3, 1 and 4 are
    by_image = dict(zip(index.tolist(), expected.tolist(), strict=True)) | {2: 0.025}
    assert_close(method.recall(other, "eps", 0.025), torch.tensor([by_image[place] for place in range(6)]))
    reached = (other.x_adv - x).abs().flatten(1).amax(1)
    assert (reached <= method.recall(other, "eps", 0.025) + 1e-6).all()


def test_weight_perturbation_stores_nothing_twice_and_parts_of_a_batch_store_theirs(tmp_path):
    whole, parted = (run(tmp_path / str(n), "eps_per_image", changes=changes)
                     for n, changes in enumerate([RUNS["eps_per_image"], PARTED]))  # fmt: skip
    assert_close(state_of(parted)["method"], state_of(whole)["method"])  # Tiny has no batch-norm
    assert_close(state_of(parted)["student"], state_of(whole)["student"], rtol=1e-4, atol=1e-6)
    assert_close(losses_of(parted), losses_of(whole))
    (stored,) = state_of(whole)["method"]
    assert stored["eps is stored"].all() and len(stored["eps"]) == 72


def test_the_guide_has_its_own_rate_and_no_gradient_of_the_students_loss(batch):
    guide = further(Tiny, "guide")["teachers"]["guide"]
    networks, distiller, crafted, losses = stepped(made("guide", guide_lr=0.25), batch, {"guide": guide})
    losses["adv"].sum().backward(retain_graph=True)
    assert all(p.grad is None for p in guide.parameters()) and networks["student"].head.weight.grad.any()
    losses["guide"].sum().backward()
    assert guide.head.weight.grad.any()
    assert distiller.method.parameter_group("guide", {"lr": 0.4, "momentum": 0.9}, 0.5) == {"lr": 0.1, "momentum": 0.9}


def test_what_trains_along_is_not_in_the_students_file(tmp_path):
    done = run(tmp_path / "run", "feature_matching")
    assert load_file(done.last).keys() == four(Tiny)["student"].state_dict().keys()
    assert state_of(done)["modules"].keys() == {"connector.weight", "connector.bias"}


def test_a_third_teacher_from_a_recipe_file_on_the_command_line(tmp_path):
    teacher = make_teacher(tmp_path)
    for seed, name in enumerate(("second", "third")):
        torch.manual_seed(seed)
        models.save(models.create("convnet-4", 10, 1), tmp_path / f"{name}.safetensors")
    (tmp_path / "mine.yaml").write_text(f"""
        method: {{'{FOLDER}/three_teachers.py:ThreeTeachers': {{}}}}
        student: convnet-2
        teacher: {teacher}
        teachers: {{second: {teacher}}}
        data: {{name: digits, validation: 0.05, train_images: 64}}
        attack: {{steps: 1, step_size: 0.1, threat: {{linf: 0.2}}}}
        epochs: 1
        batch_size: 32
    """)
    both = ["--teachers.second", teacher, "--teachers.third", teacher]
    done = advdistill("train", "mine.yaml", "--out", "run", "--suite", "None", *both[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "second teacher: " in done.stderr and "third teacher: " in done.stderr
    assert Run(tmp_path / "run").recipe.teachers == {"second": teacher, "third": teacher}
    again = advdistill("train", "mine.yaml", "--out", "run", "--suite", "None", cwd=tmp_path)
    assert again.returncode == 2 and f"teachers.third: {teacher} in the folder, None in this command" in again.stderr
    wrong = advdistill("train", "mine.yaml", "--teachers.fourth", teacher, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "ThreeTeachers has no role 'fourth' for a teacher; its roles are robust, second, third." in wrong.stderr


OPTIMIZERS = {
    "adamw": (AdamW(1e-2, weight_decay=0.1), torch.optim.AdamW, {"weight_decay": 0.1}),
    "all decay": (AdamW(1e-2, decay_norms_and_biases=True), torch.optim.AdamW, {"weight_decay": 0.05}),
    "adagrad": (TorchOptimizer("Adagrad", 1e-2, options={"eps": 1e-6}), torch.optim.Adagrad, {"eps": 1e-6}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_steps_as_torchs_own_loop_does(tmp_path, name):
    chosen, kind, options = OPTIMIZERS[name]
    done = run(tmp_path / "run", "noise", optimizer=chosen, clip_gradient=0.5)
    student = four(Tiny)["student"]
    matrices, others = ([p for p in student.parameters() if (p.ndim > 1) is flag] for flag in (True, False))
    groups = [{"params": matrices}, {"params": others} | ({} if chosen.decay_norms_and_biases else {"weight_decay": 0})]
    expected = by_hand(student, kind(groups, lr=1e-2, **options), done)
    assert_close(state_of(done)["student"], expected, rtol=1e-4, atol=1e-6)


def by_hand(student, optimizer, done):
    """The weights after the steps of a run of `noise`, by a loop around `Distiller`."""
    recipe = done.recipe
    used, _ = quick_data().holdout(recipe.data.validation, recipe.seed)
    batches = Batches(used, recipe.batch_size, recipe.data.augment, recipe.seed)
    distiller, step, lr = Distiller(recipe.method, attack=recipe.attack), 0, optimizer.param_groups[0]["lr"]
    for epoch in range(recipe.epochs):
        for at, share in enumerate(batches.epoch(epoch)):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate(recipe.schedule, epoch + at / len(batches), recipe.epochs)
            loss = distiller(student.train(), share.x, share.y, rng=Rng(recipe.seed, "start", step))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), recipe.clip_gradient)
            optimizer.step()
            step += 1
    return student.state_dict()


class Wrong(made("noise").__class__):
    """A method whose `craft` returns what its test sets."""

    given = None

    def craft(self, batch, attack):
        return self.given(batch.x)


@pytest.mark.parametrize(("given", "message"), [
    (lambda x: x[:2], r"craft\(\) must return images like x, torch.float32 \[6, 1, 4, 4\]; x' is torch.float32 \[2,"),
    (lambda x: x.double(), r"must return images like x, .*; x' is torch.float64 \[6, 1, 4, 4\]"),
    (lambda x: {"a": x, "b": None}, "must return images like x, .*; b is NoneType"),
    (lambda x: x / 0, r"craft\(\) returned images that are NaN or infinite \(x'\)"),
    (lambda x: {}, r"craft\(\) returned no images"),
])  # fmt: skip
def test_what_craft_returns_is_checked(batch, given, message):
    method = Wrong()
    method.given = given
    with pytest.raises(ValueError, match=message):
        stepped(method, batch)


@pytest.mark.parametrize(("action", "message"), [
    (lambda b: stepped(methods.build("rslad") + made("feature_matching", student_layer="hiden"), b),
     "Unknown layer of the student 'hiden'.*hidden"),
    (lambda b: Distiller(methods.build("rslad"), teachers={"robust": Tiny(), "aux": Tiny()}),
     "RSLAD has no role 'aux' for a teacher; its roles are robust"),
    (lambda b: Distiller(methods.build("pgd_at"), teachers={"aux": Tiny()}), "PGDAT has no role 'aux' .*; it has no"),
    (lambda b: Distiller(made("three_teachers"), Tiny()), "ThreeTeachers needs a second teacher .*; it is missing. "
     "Give teachers={'second': ...}, or --teachers.second REFERENCE"),
    (lambda b: stepped(made("eps_per_image"), b), "'eps' is stored for each image, and this training loop does not"),
    (lambda b: TorchOptimizer("Adagard"), "Unknown optimizer 'Adagard'.*Adagrad"),
    (lambda b: TorchOptimizer("Adagrad", options={"lr_dcay": 1}), "Unknown option of the optimizer Adagrad 'lr_dcay'"),
    (lambda b: TorchOptimizer("Adagrad", options={"eps": -1}), "optimizer Adagrad rejects its options: Invalid eps"),
    (lambda b: TorchOptimizer("LBFGS"), "The optimizer LBFGS computes the loss several times a step; choose another"),
    (lambda b: TorchOptimizer("Rprop", weight_decay=0.1), "Rprop has no weight decay; got weight_decay=0.1"),
    (lambda b: AdamW(betas=(0.9, 1.5)), "optimizer.betas must lie between 0 and 1, got 1.5"),
])  # fmt: skip
def test_mistakes_are_explained(batch, action, message):
    with pytest.raises(ValueError, match=message):
        action(batch)


def test_a_recipe_names_any_optimiser_and_refuses_a_mistyped_option():
    text = "optimizer: {name: adamw, lr: 3e-3, betas: [0.9, 0.95]}"
    assert Recipe.from_yaml(text).optimizer == AdamW(3e-3, (0.9, 0.95))
    for optimizer in (AdamW(), TorchOptimizer("RMSprop", 0.1, options={"momentum": 0.5})):
        recipe = Recipe(optimizer=optimizer)
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    with pytest.raises(ValueError, match="Unknown field of recipe: optimizer 'beta'.*betas"):
        Recipe.from_yaml("optimizer: {name: adamw, beta: [0.9, 0.95]}")
    with pytest.raises(ValueError, match="Unknown option of the optimizer RMSprop 'momentun'.*momentum"):
        Recipe.from_yaml("optimizer: {name: RMSprop, momentun: 0.9}")
    with pytest.raises(ValueError, match=r"teacher \(a\) and teachers.robust \(b\) differ; give one"):
        Recipe.from_yaml("{teacher: a, teachers: {robust: b}}")
    assert Recipe.from_yaml("teachers: {robust: b, clean: c}") == Recipe(teacher="b", clean_teacher="c")
