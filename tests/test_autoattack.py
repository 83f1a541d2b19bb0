import sys

import pyautoattack
import pytest
import torch
from conftest import linear
from torch import nn

from advdistill import data
from advdistill.acceleration.frozen import Frozen
from advdistill.attacks.autoattack import AutoAttack
from advdistill.data.batches import to_float
from advdistill.evaluation import evaluate
from advdistill.threat import L2, Linf

NAMES = ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread: on tensors this small, waiting for a second one takes longer than computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def short_attacks(monkeypatch):
    """Give the library's attacks fewer steps: each would otherwise take seconds even on one image."""
    set_version = pyautoattack.AutoAttack._set_version

    def shortened(self, version):
        set_version(self, version)
        self.apgd.n_iter = self.apgd_targeted.n_iter = 8
        self.fab.n_iter = 3
        self.square.n_queries = 30

    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", shortened)


def of_classes(classes):
    """Images `[24, 1, 8, 8]`, labels below `classes`, and a model for them."""
    split = data.load("digits", "test")
    split = split.take((split.labels < classes).nonzero()[:, 0])
    x, y = to_float(split.images), split.labels
    return x[:24], y[:24], linear(x, y, classes)


@pytest.mark.parametrize("ball", [Linf, L2])
@pytest.mark.parametrize("classes, targets, eps", [(10, 9, 0.04), (5, 4, 0.06), (4, 3, 0.1)])
def test_verdicts_are_the_librarys_image_by_image(ball, classes, targets, eps):
    x, y, model = of_classes(classes)
    threat = ball(eps if ball is Linf else 5 * eps)
    library = pyautoattack.AutoAttack(model, norm=threat.name, eps=threat.eps, seed=3)
    library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
    with torch.random.fork_rng():
        theirs = library.run_standard_evaluation(x, y, batch_size=24)[0]
    ours, standing = AutoAttack(threat).run(model, x, y, seed=3)
    assert 0 < standing["square"].sum() < standing["clean"].sum()
    assert torch.equal(standing["square"], model(theirs).argmax(1) == y)
    assert torch.equal(ours, theirs)


def test_every_counted_break_is_inside_and_every_attack_only_breaks_more():
    x, y, model = of_classes(10)
    threat = Linf(0.04)
    x_adv, standing = AutoAttack(threat).run(model, x, y)
    assert list(standing) == NAMES
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6 and 0 <= x_adv.min() and x_adv.max() <= 1
    assert torch.equal(model(x_adv).argmax(1) == y, standing["square"])
    flags = list(standing.values())
    assert all((after <= before).all() for before, after in zip(flags, flags[1:], strict=False))


def test_what_the_library_breaks_outside_the_threat_does_not_count(monkeypatch):
    x, y, model = of_classes(10)
    monkeypatch.setattr(pyautoattack.AutoAttack, "run_standard_evaluation", lambda self, x, y, batch_size: (1 - x, y))
    x_adv, standing = AutoAttack(Linf(0.04)).run(model, x, y)
    assert torch.equal(standing["square"], standing["clean"]) and torch.equal(x_adv, x)


def test_draws_depend_on_the_seed_alone_and_the_global_generator_is_left_alone():
    x, y, model = of_classes(10)
    first, _ = AutoAttack(Linf(0.04)).run(model, x, y, seed=1)
    torch.rand(7)
    before = torch.get_rng_state()
    second, _ = AutoAttack(Linf(0.04)).run(model, x, y, seed=1)
    other, _ = AutoAttack(Linf(0.04)).run(model, x, y, seed=2)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_eps_0_leaves_clean_accuracy():
    x, _, model = of_classes(10)
    y = (model(x).argmax(1) + (torch.arange(24) < 5)) % 10  # the first five are wrong
    x_adv, standing = AutoAttack(Linf(0)).run(model, x, y)
    assert list(standing) == ["clean"] and torch.equal(x_adv, x)
    assert standing["clean"].tolist() == [False] * 5 + [True] * 19


def test_an_image_alone_and_a_model_without_a_right_answer():
    x, y, model = of_classes(10)
    _, standing = AutoAttack(Linf(0.04)).run(model, x[:1], y[:1])
    assert standing["square"].shape == (1,)
    _, standing = AutoAttack(Linf(0.04)).run(model, x, (model(x).argmax(1) + 1) % 10)
    assert not any(flags.any() for flags in standing.values())


def test_progress_and_the_librarys_warnings_go_to_report_and_nowhere_else(capfd):
    x, y, model = of_classes(10)
    lines = []
    AutoAttack(Linf(0.04)).run(nn.Sequential(model, nn.Softmax(1)), x, y, report=lines.append)
    AutoAttack(Linf(0.04)).run(nn.Sequential(model, nn.Softmax(1)), x, y)
    warned = [line for line in lines if "warns" in line]
    assert len(warned) == 1 and "probability distribution" in warned[0]
    assert [line.split()[1] for line in lines if "still classified correctly" in line] == [
        f"{name}:" for name in NAMES[1:]
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("classes, names", [(2, "apgd-ce fab-t square"), (3, "apgd-ce apgd-dlr fab-t square")])
def test_with_fewer_than_4_classes_the_attacks_that_are_defined_are_run(classes, names):
    x, y, model = of_classes(classes)
    attack = AutoAttack(Linf(0.2 if classes == 2 else 0.12))
    assert attack.describe(classes) == f"AutoAttack for {classes} classes ({', '.join(names.split())}), {attack.threat}"
    x_adv, standing = attack.run(model, x, y)
    assert list(standing) == ["clean", *names.split()]
    assert 0 < standing["square"].sum() < standing["clean"].sum()
    assert torch.equal(model(x_adv).argmax(1) == y, standing["square"])


def test_a_missing_library_is_named_before_any_attack(without):
    without("pyautoattack")
    split, lines = data.load("digits", "test"), []
    with pytest.raises(ImportError, match=r'autoattack needs the package pyautoattack; .*"advdistill\[eval\]"'):
        evaluate(linear(to_float(split.images), split.labels, 10), split, Linf(0.04), "full", report=lines.append)
    assert not lines


def test_verdicts_are_the_models_own_whatever_is_searched():
    x, y, model = of_classes(10)
    constant = torch.nn.functional.one_hot(y, 10).float() * 9

    def unmoved(images):  # right on everything, without a gradient
        return constant[: len(images)] + 0 * model(images)

    x_adv, standing = AutoAttack(Linf(0.04)).run(model, x, y, attacked=unmoved)
    assert torch.equal(model(x_adv).argmax(1) == y, standing["square"])


def test_where_the_copy_errs_on_the_clean_image_the_model_is_attacked():
    x, y, model = of_classes(10)
    x_adv, standing = AutoAttack(Linf(0.04)).run(model, x, y, attacked=lambda x: -model(x))  # calls every image wrong
    plain_x_adv, plain = AutoAttack(Linf(0.04)).run(model, x, y)
    assert 0 < plain["square"].sum() < plain["clean"].sum()
    assert standing.keys() == plain.keys() and all(torch.equal(standing[name], plain[name]) for name in plain)
    assert torch.equal(x_adv, plain_x_adv)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_search_on_the_fast_copy_breaks_what_a_search_on_the_model_does(dtype):
    x, y, model = of_classes(10)
    threat = Linf(0.04)
    x_adv, standing = AutoAttack(threat).run(model, x, y, attacked=Frozen(model, dtype))
    _, reference = AutoAttack(threat).run(model, x, y)
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6 and 0 <= x_adv.min() and x_adv.max() <= 1
    assert torch.equal(model(x_adv).argmax(1) == y, standing["square"])
    assert 0 < standing["square"].sum() < standing["clean"].sum()
    assert (standing["square"] != reference["square"]).sum() <= 1


def test_the_callers_tracer_is_left_as_it_was():
    """The tracer may be a debugger's or coverage's."""
    x, y, model = of_classes(10)
    before, tracer = sys.gettrace(), lambda frame, event, argument: None
    sys.settrace(tracer)
    try:
        AutoAttack(Linf(0.04)).run(model, x[:4], y[:4])
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is tracer
