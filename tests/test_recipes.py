"""Tests that each recipe can be run and has the numbers of its paper, which are repeated here by hand."""

import inspect
import math
import re

import pytest
import torch

from advdistill import ADR, IGDM, PGD, AdaAD, Data, Linf, Recipe, models, recipes
from advdistill.data import describe
from advdistill.methods import to_config
from advdistill.methods.cost import passes
from advdistill.train.schedule import attack_at, rate

DATASETS = {entry["name"]: entry for entry in describe()}


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_survives_yaml_and_names_what_exists(name):
    recipe = recipes.load(name)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.data.name == name.split(".")[0]
    classes, shape = DATASETS[recipe.data.name]["classes"], DATASETS[recipe.data.name]["shape"]
    with torch.device("meta"):
        logits = models.create(recipe.student, classes, shape[0])(torch.zeros(2, *shape))
    assert logits.shape == (2, classes)


@pytest.mark.parametrize("name", recipes.names())
def test_every_schedule_lies_inside_the_run(name):
    recipe = recipes.load(name)
    if recipe.schedule.kind == "multistep":
        milestones = recipe.schedule.milestones
        assert list(milestones) == sorted(set(milestones)) and 0 < milestones[0] and milestones[-1] < recipe.epochs
        assert rate(recipe.schedule, recipe.epochs - 1, recipe.epochs) == pytest.approx(0.1 ** len(milestones))


@pytest.mark.parametrize("entry", recipes.describe(), ids=lambda entry: entry["name"])
def test_every_summary_is_one_line(entry):
    assert re.fullmatch(r"[A-Z0-9].*\.", entry["summary"]) and len(entry["summary"]) <= 120


@pytest.mark.parametrize("name", [name for name in recipes.names() if not name.startswith("digits.")])
def test_what_the_docstring_says_is_what_the_recipe_does(name):
    recipe, text = recipes.load(name), " ".join(inspect.getdoc(recipes._recipe_functions()[name]).split())
    ours = text.split("Published")[0]  # the text after it may name settings of others

    def first(pattern):
        return re.findall(r"[\d.]+(?:e-\d)?", (re.findall(pattern, ours) or [""])[0])

    assert [float(number) for number in first(r"weight decay [\de.-]+\d")] in ([], [recipe.optimizer.weight_decay])
    assert [int(number) for number in first(r"\d+ epochs")] in ([], [recipe.epochs])
    milestones = first(r"/10 at ((?:\d+|, | and )+)")
    assert [int(number) for number in milestones] in ([], list(recipe.schedule.milestones))


# lr, weight decay, epochs, milestones, batch, and coefficients of the method
@pytest.mark.parametrize(("name", "lr", "decay", "epochs", "milestones", "batch", "method"), [
    ("cifar10.rslad_resnet18", 0.1, 2e-4, 300, (215, 260, 285), 128, {"scale": 0.1, "adv_weight": 5 / 6}),
    ("cifar10.rslad_mobilenet_v2", 0.1, 2e-4, 300, (215, 260, 285), 128, {"scale": 0.1, "clean_weight": 1 / 6}),
    ("cifar10.adaad_mobilenet_v2", 0.1, 5e-4, 200, (100, 150), 128, {"scale": 0.1, "adv_weight": 1}),
    ("cifar10.mart_resnet18", 0.01, 3.5e-3, 120, (74, 89, 99), 128, {"robust_weight": 5}),
    ("cifar10.trades_mobilenet_v2", 0.1, 2e-4, 100, (74, 89, 99), 128, {"robust_weight": 6}),
    ("cifar10.pgd_at_mobilenet_v2", 0.1, 5e-4, 110, (100, 105), 128, {}),
    ("cifar10.saad_resnet18", 0.1, 5e-4, 200, (100, 150), 128, {"gradient_weight": 1, "clean_weight": 0}),
    ("cifar100.rslad_resnet18", 0.1, 2e-4, 300, (215, 260, 285), 128, {"scale": 0.1}),
    ("cifar100.mtard_resnet18", 0.1, 2e-4, 300, (215, 260, 285), 128, {"scale": 0.1, "weight_rate": 0.025}),
    ("cifar100.bmtard_mobilenet_v2", 0.1, 2e-4, 300, (215, 260, 285), 128, {"scale": 0.1, "temperature_rate": 0.001}),
    ("cifar100.ard_mobilenet_v2", 0.1, 2e-4, 200, (100,), 256, {"scale": 0.01, "temperature": 30}),
    ("cifar100.iad_resnet18", 0.1, 2e-4, 200, (100,), 128, {"begin": 0.4, "temperature": 1, "trust_exponent": 0.1}),
    ("cifar100.adaad_resnet18", 0.1, 5e-4, 200, (100, 150), 128, {"scale": 1}),
    ("cifar100.adaiad_mobilenet_v2", 0.1, 5e-4, 200, (100, 150), 128, {"temperature": 30, "begin": 0.3}),
    ("cifar100.saad_resnet18", 0.1, 5e-4, 200, (100, 150), 128, {"gradient_weight": 20}),
    ("cifar100.dgad_mobilenet_v2", 0.1, 5e-4, 200, (100, 150), 128, {"consistency_weight": 1}),
    ("cifar10.adr_resnet18", 0.1, 5e-4, 200, (100, 150), 128, {"first_temperature": 2.5, "last_temperature": 2.0,
     "first_trust": 0.7, "last_trust": 0.95, "robust_weight": 0, "decay": 0.995}),
    ("cifar10.lbgat_resnet18", 0.1, 2e-4, 100, (75, 90), 128, {"robust_weight": 0}),
    ("cifar10.adagat_resnet18", 0.1, 2e-4, 100, (75, 90), 128, {"guide_weight": 2.5}),
    ("cifar10.akd2_resnet18", 0.1, 5e-4, 200, (50, 150), 128, {"robust_weight": 0.6, "clean_weight": 0.1,
     "temperature": 2}),
    ("tiny_imagenet.adaad_preact_resnet18", 0.1, 5e-4, 100, (50, 80), 128, {"scale": 1}),
    ("tiny_imagenet.rslad_preact_resnet18", 0.1, 5e-4, 100, (50, 80), 128, {"scale": 0.1}),
    ("tiny_imagenet.ard_preact_resnet18", 0.1, 5e-4, 100, (50, 80), 128, {"scale": 1, "temperature": 1}),
    ("tiny_imagenet.saad_preact_resnet18", 0.1, 5e-4, 200, (100, 150), 128, {"gradient_weight": 10}),
])  # fmt: skip
def test_the_numbers_of_the_papers(name, lr, decay, epochs, milestones, batch, method):
    recipe = recipes.load(name)
    assert (recipe.optimizer.lr, recipe.optimizer.momentum, recipe.optimizer.weight_decay) == (lr, 0.9, decay)
    assert (recipe.epochs, recipe.schedule.milestones, recipe.schedule.gamma) == (epochs, milestones, 0.1)
    assert recipe.batch_size == batch and recipe.data.augment == "crop_flip" and recipe.data.validation == 0.1
    ((kind, coefficients),) = to_config(recipe.method).items()
    assert name.split(".")[1].startswith(kind) and coefficients == coefficients | method


@pytest.mark.parametrize(("name", "weight"), [
    ("cifar10.adaad_igdm_resnet18", 5),
    ("cifar10.adaad_igdm_mobilenet_v2", 10),
    ("cifar100.adaad_igdm_resnet18", 15),
    ("cifar100.adaad_igdm_mobilenet_v2", 20),
    ("tiny_imagenet.adaad_igdm_preact_resnet18", 10),
])  # fmt: skip
def test_igdm_weighs_what_its_paper_gives_for_the_teacher_ltd(name, weight):
    assert recipes.load(name).method == AdaAD() + IGDM(weight=weight)


TWINS = [name for name in recipes.names() if name.replace("resnet18", "mobilenet_v2") in set(recipes.names()) - {name}]


@pytest.mark.parametrize("name", TWINS)
def test_mobilenet_differs_from_resnet_only_in_the_student_and_igdms_weight(name):
    small, large = recipes.load(name.replace("resnet18", "mobilenet_v2")), recipes.load(name)
    assert small.student == "mobilenet_v2" and large.student == "resnet18"
    assert small.replace(student="resnet18") == large or "igdm" in to_config(large.method)
    assert small.replace(student="resnet18", method=large.method) == large


RIVALS = {
    "cifar10.nuat_resnet18": PGD(1, 8 / 255, Linf(8 / 255)),
    "cifar10.acat_resnet18": PGD(2, 8 / 255, Linf(8 / 255)),
    "cifar10.liet_resnet18": PGD(1, 8 / 255, Linf(8 / 255)),
    "cifar10.lbgat_resnet18": PGD(10, 0.007, Linf(0.031)),
    "cifar10.adagat_resnet18": PGD(10, 0.007, Linf(0.031)),
    "cifar10.fgsm_rs_preact_resnet18": PGD(
        1, 10 / 255, Linf(8 / 255), "uniform", "train", allow_step_above_eps=True
    ),
    "cifar10.n_fgsm_preact_resnet18": PGD(
        1, 8 / 255, Linf(8 / 255), "uniform", "train", start_radius=2, projected=False
    ),
}


def test_hat_and_nuat_have_their_papers_numbers():
    hat, nuat = recipes.load("cifar10.hat_resnet18"), recipes.load("cifar10.nuat_resnet18")
    assert to_config(hat.method) == {"hat": {"robust_weight": 2.5, "helper_weight": 0.5, "overshoot": 2.0}}
    assert (hat.epochs, hat.optimizer.lr, hat.optimizer.nesterov) == (50, 0.21, True)
    assert [rate(hat.schedule, done, 50) for done in (12.5, 31.25)] == pytest.approx([1, 0.5])
    assert to_config(nuat.method) == {"nuat": {"nuclear_weight": 4.0, "ramp": 1.0}}
    assert (nuat.epochs, nuat.batch_size, nuat.ema, nuat.optimizer.lr) == (100, 64, 0.9998, 0.1)
    assert [rate(nuat.schedule, done, 100) for done in (25, 62.5)] == pytest.approx([1, 0.5], abs=1e-3)


def test_acat_has_its_papers_numbers():
    recipe = recipes.load("cifar10.acat_resnet18")
    assert to_config(recipe.method) == {"trades": {"robust_weight": 11}}
    assert (recipe.epochs, recipe.batch_size, recipe.awp, recipe.awp_begin, recipe.ema) == (110, 128, 0.005, 9, 0.9996)
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay, recipe.optimizer.nesterov) == (0.2, 5e-4, False)
    for epoch in (0, 54, 109):  # counted from 0; eps_e = eps (e + 1) / E, and the step size is eps_e
        attack, eps = attack_at(recipe, recipe.attack, epoch), 8 / 255 * (epoch + 1) / 110
        assert (attack.steps, attack.threat.eps, attack.step_size) == (2, pytest.approx(eps), pytest.approx(eps))
        assert rate(recipe.schedule, epoch, 110) == pytest.approx(0.5 + 0.5 * math.cos(math.pi * epoch / 110))


def test_advfunmatch_is_adaad_on_strongly_augmented_mixed_images():
    recipe, plain = recipes.load("cifar10.advfunmatch_resnet18"), recipes.load("cifar10.adaad_resnet18")
    assert recipe.method == AdaAD(adv_weight=1.0, scale=1.0)
    data = Data("cifar10", augment="trivial_augment", mixup=1.0)
    assert recipe == plain.replace(method=AdaAD(), data=data)


def test_liet_has_its_papers_numbers():
    recipe = recipes.load("cifar10.liet_resnet18")
    coefficients = {"smoothing": 0.6, "consistency_weight": 100, "least_noise": 0.1, "most_noise": 0.5, "every": 20}
    assert to_config(recipe.method) == {"liet": coefficients}
    assert (recipe.epochs, recipe.batch_size, recipe.ema) == (100, 128, 0.9995)
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay, recipe.optimizer.nesterov) == (0.1, 5e-4, False)
    rates = [rate(recipe.schedule, done, 100) for done in (15, 29.9, 64, 64.9)]
    assert rates == pytest.approx([0.5, 1, 0.5, 0.5], abs=5e-3)


@pytest.mark.parametrize(("name", "epochs"), [("fgsm_rs", 15), ("n_fgsm", 30)])
def test_one_step_recipes_raise_the_rate_to_a_fifth_and_lower_it_again(name, epochs):
    recipe = recipes.load(f"cifar10.{name}_preact_resnet18")
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.weight_decay) == (epochs, 0.2, 5e-4)
    rates = [rate(recipe.schedule, share * epochs, epochs) for share in (0.25, 0.5, 0.75, 1)]
    assert rates == pytest.approx([0.5, 1, 0.5, 0], abs=1e-3)


def test_attacks():
    eight = PGD(10, 2 / 255, Linf(8 / 255))
    for name in recipes.names():
        attack = recipes.load(name).attack
        if name in RIVALS:
            assert attack == RIVALS[name]
        elif name.startswith("cifar10.best_small"):
            assert attack == PGD(3, 0.0133, Linf(8 / 255))
        elif name.startswith("cifar10.") and ("trades" in name or "mart_" in name):
            assert attack == PGD(10, 0.007, Linf(0.031))
        elif name.startswith("cifar10.pgd_at_") and "small" not in name:  # AdaAD's comparison: methods.md, correction 9
            assert attack == PGD(10, 2 / 255, Linf(8 / 255), start="gaussian_clamped")
        elif name in ("tiny_imagenet.ard_preact_resnet18", "tiny_imagenet.iad_preact_resnet18"):
            assert attack == PGD(10, 2 / 255, Linf(8 / 255), start="uniform", student_mode="eval")
        elif name == "fashion_mnist.teacher":
            assert attack == PGD(1, 0.1, Linf(0.1), "uniform", "train", start_radius=2, projected=False)
        elif name == "fashion_mnist.liet":
            assert attack == PGD(1, 0.1, Linf(0.1))
        elif name.startswith("fashion_mnist.best"):
            assert attack == PGD(3, 0.05, Linf(0.1))
        elif name.startswith("fashion_mnist."):
            assert attack == PGD(10, 0.025, Linf(0.1))
        elif not name.startswith("digits."):
            assert attack == eight


@pytest.mark.parametrize(("best", "base"), [
    ("cifar10.best_resnet18", "cifar10.adaad_igdm_resnet18"),
    ("cifar10.best_mobilenet_v2", "cifar10.adaad_igdm_mobilenet_v2"),
    ("cifar100.best_resnet18", "cifar100.adaad_igdm_resnet18"),
    ("cifar100.best_mobilenet_v2", "cifar100.adaad_igdm_mobilenet_v2"),
])  # fmt: skip
def test_the_best_recipes_differ_from_the_published_ones_in_average_and_statistics_only(best, base):
    levers = {"ema": 0.995, "ema_warmup": 0.025, "statistics": "adversarial"}
    assert recipes.load(best) == recipes.load(base).replace(**levers)


@pytest.mark.parametrize(("dataset", "constants"), [
    ("cifar10", ADR(2.5, 1.5, 0.7, 0.85)), ("cifar100", ADR(2.0, 1.0, 0.7, 0.85)),
])  # fmt: skip
def test_the_best_without_a_teacher_is_adr_with_the_constants_of_its_release_for_perturbed_weights(dataset, constants):
    recipe = recipes.load(f"{dataset}.best_without_teacher")
    assert (recipe.method, recipe.data.name, recipe.ema, recipe.awp) == (constants, dataset, 0.995, 0.005)
    assert recipe.replace(method=ADR(), ema=None, awp=None, data=recipes.load("cifar10.adr_resnet18").data) == (
        recipes.load("cifar10.adr_resnet18")
    )


@pytest.mark.parametrize(("best", "base", "share"), [
    ("digits.best", "digits.rslad", 1.01),
    ("digits.best_without_teacher", "digits.rslad", 1.01),
    ("fashion_mnist.best", "fashion_mnist.rslad", 1.025),  # whole epochs of ten are coarser
    ("fashion_mnist.best_without_teacher", "fashion_mnist.rslad", 1.02),
    ("cifar10.best_small", "cifar10.rslad_small", 1.01),
    ("cifar10.best_small_without_teacher", "cifar10.rslad_small", 1.01),
])  # fmt: skip
def test_the_small_best_recipes_take_as_many_passes(best, base, share):
    best, base = recipes.load(best), recipes.load(base)
    assert best.batch_size == base.batch_size and best.data == base.data
    costs = [sum(passes(one.method, one.attack.steps).values()) * one.epochs for one in (best, base)]
    assert costs[0] <= share * costs[1]


def test_two_teachers_are_selected_by_the_mean():
    chosen = {name for name in recipes.names() if recipes.load(name).select_by == "mean"}
    assert chosen >= {f"{data}.{m}_{s}" for data in ("cifar10", "cifar100") for m in ("mtard", "bmtard")
                      for s in ("resnet18", "mobilenet_v2")}  # fmt: skip


def test_every_dataset_has_the_usual_methods():
    usual = ["pgd_at", "trades", "ard", "iad", "rslad", "adaad", "adaiad", "adaad_igdm", "dgad", "saad"]
    students = {"cifar10": ["resnet18", "mobilenet_v2"], "cifar100": ["resnet18", "mobilenet_v2"],
                "tiny_imagenet": ["preact_resnet18"]}  # fmt: skip
    wanted = {f"{data}.{method}_{s}" for data, some in students.items() for method in usual for s in some}
    assert wanted <= set(recipes.names())


def test_saads_average_begins_with_the_95th_epoch_and_peeraids_with_the_first_decay():
    averaged = {name: recipes.load(name).swa for name in recipes.names() if recipes.load(name).swa is not None}
    saad = [name for name in recipes.names() if "saad" in name and not name.startswith("digits.")]
    others = {"cifar10.peeraid_resnet18": 214, "cifar10.akd2_resnet18": 55}
    assert averaged == dict.fromkeys(saad, 94) | others  # epochs counted from 0


def test_students_of_tiny_imagenet_are_those_of_the_papers():
    students = {name: recipes.load(name).student for name in recipes.names() if name.startswith("tiny_imagenet.")}
    assert students.pop("tiny_imagenet.dgad_preact_resnet18") == "preact_resnet18_2x2"
    assert set(students.values()) == {"preact_resnet18_bn"}


def test_trades_last_epoch_has_a_thousandth_of_the_rate():
    schedule = recipes.load("cifar10.trades_resnet18").schedule
    assert [rate(schedule, epoch, 100) for epoch in (73, 74, 88, 89, 98, 99)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 0.01, 0.001]
    )


def test_ciards_rate_moves_once_an_epoch():
    schedule = recipes.load("cifar10.ciard_mobilenet_v2").schedule
    for epoch in (149, 150, 200, 298):  # counted from 0; the release counts from 1
        cosine = 0.5 + 0.5 * math.cos(math.pi * (epoch + 1 - 150) / 150)
        assert rate(schedule, epoch, 300) == rate(schedule, epoch + 0.9, 300) == pytest.approx(cosine)
