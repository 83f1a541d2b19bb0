"""Running the teacher only at some steps of the attack."""

from dataclasses import dataclass

import pytest
import torch
from conftest import Tiny, linear
from torch.testing import assert_close
from training import differences, four, quick, same_weights, short, state_of

from advdistill import ARD, IGDM, PGD, RSLAD, SAAD, AdaAD, Distiller, Linf, Recipe
from advdistill._internal.rng import Rng
from advdistill.acceleration.frozen import Frozen
from advdistill.acceleration.teacher_extrapolation import Extrapolated
from advdistill.losses import kl
from advdistill.methods import DGAD, AdaIAD
from advdistill.train.trainer import Trainer

ATTACK = PGD(10, 0.03, Linf(0.1))


def counted(network):
    """Return the network and a list with an entry per forward pass: `True` if the images require gradients."""
    calls = []
    network.register_forward_hook(lambda module, given, logits: calls.append(given[0].requires_grad))
    return network, calls


def crafted(teacher, student, x, y, **options):
    return Distiller(AdaAD(), teacher, attack=ATTACK, **options).craft(student, x, y, rng=Rng(0)).x_adv


def gradient(objective, x):
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(objective(leaf).sum(), leaf)[0]


def test_between_two_runs_the_answer_is_linear_along_what_the_objective_asked_for(tiny, batch):
    network, (x, _) = tiny(), batch
    asked = torch.rand(len(x), 4, generator=torch.Generator().manual_seed(1))
    extended = Extrapolated(network, 3)
    gradient(lambda at: (asked * extended(at)).sum(1), x)
    jacobian = torch.autograd.functional.jacobian(lambda at: network(at).sum(0), x).flatten(2)  # [K, B, D]

    unit = asked / asked.norm(dim=1, keepdim=True)
    row = torch.einsum("bk,kbd->bd", unit, jacobian)
    moved = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    by_hand = network(x) + unit * (row * (moved - x).flatten(1)).sum(1, keepdim=True)
    assert_close(extended(moved.requires_grad_()), by_hand)
    other = torch.arange(4.0)
    (found,) = torch.autograd.grad((other * extended(moved)).sum(), moved)
    assert_close(found.flatten(1), row * (unit @ other)[:, None])


def test_where_the_network_is_run_value_and_gradient_are_its_own(tiny, batch):
    teacher, student, (x, _) = tiny(1), tiny(0), batch
    extended = Extrapolated(teacher, 2)
    for step in range(6):
        at = x + 0.02 * step
        exact = gradient(lambda v: kl(teacher(v), student(v)), at)
        assert torch.equal(gradient(lambda v: kl(extended(v), student(v)), at), exact) == (step % 2 == 0)


def test_an_objective_that_has_what_it_wants_moves_nothing(tiny, batch):
    network, (x, _) = tiny(), batch
    extended = Extrapolated(network, 5)
    gradient(lambda at: kl(extended(at), network(x)), x)
    gradient(lambda at: 0 * extended(at).sum(1), x)
    assert gradient(lambda at: extended(at).sum(1), x + 0.1).isfinite().all()


@pytest.mark.parametrize("every", [2, 5, 10])
def test_for_a_linear_teacher_of_two_classes_the_attack_is_the_exact_one(every, tiny, batch):
    # the softmax of two logits has one degree of freedom, the one that the objective needs
    x, y = batch[0], batch[1] % 2
    teacher, student = linear(x, y, 2), tiny(0, classes=2)
    exact, cheap = (crafted(teacher, student, x, y, teacher_every=k) for k in (None, every))
    assert (exact - x).abs().max() > 0.09
    assert_close(cheap, exact, rtol=0, atol=1e-6)


def test_run_at_every_step_it_is_the_exact_attack_and_else_it_is_not(tiny, batch):
    exact, every, some = (crafted(tiny(1), tiny(0), *batch, teacher_every=k) for k in (None, 1, 5))
    assert torch.equal(exact, every) and not torch.equal(exact, some)


@pytest.mark.parametrize(("every", "runs"), [(None, 10), (3, 4), (5, 2), (10, 1), (99, 1)])
@pytest.mark.parametrize("method", [AdaAD(), AdaIAD(), AdaAD() + IGDM()])
def test_the_teacher_is_run_as_often_as_promised(method, every, runs, tiny, batch):
    (teacher, calls), student = counted(tiny(1)), tiny(0)
    distill = Distiller(method, teacher, attack=ATTACK, teacher_every=every)
    distill.prepare(student, *batch)
    calls.clear()
    distill.craft(student, *batch)
    assert calls == [True] * runs


def test_the_losses_are_of_the_teacher_itself_even_where_they_differentiate_it(tiny, batch):
    teacher, student = tiny(1), tiny(0)
    distill = Distiller(AdaAD(adv_weight=0.5, scale=2), teacher, attack=ATTACK, teacher_every=5)
    made = distill.craft(student, *batch)
    losses = distill.losses(made, student)
    assert_close(losses["adv"], kl(teacher(made.x_adv), student(made.x_adv)))
    assert_close(losses["clean"], kl(teacher(made.x), student(made.x)))
    for at in (made.x, made.x_adv):
        leaf = at.clone().requires_grad_()
        assert torch.equal(made.teacher(leaf), teacher(leaf))


@dataclass
class Anchored(AdaAD):
    """AdaAD with an attack that also uses T(x)."""

    def inner(self, batch):
        def objective(x_adv):
            return sum(kl(batch.teacher(at), batch.student(x_adv)) for at in (batch.x, x_adv))

        return objective


def test_what_the_teacher_says_of_x_is_exact_and_asked_once(tiny, batch):
    (teacher, calls), student = counted(tiny(1)), tiny(0)
    distill = Distiller(Anchored(adv_weight=0.5), teacher, attack=ATTACK, teacher_every=5)
    distill.prepare(student, *batch)
    calls.clear()
    made = distill.craft(student, *batch)
    distill.losses(made, student)
    assert sorted(calls) == [False] * 2 + [True] * 2  # x and x'; two of the ten steps
    assert torch.equal(made.teacher(made.x), teacher(made.x))


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_it_extends_the_fast_copy_in_full_precision(fast, tiny, batch):
    teacher, student, (x, _) = Frozen(tiny(1), fast), tiny(0), batch
    extended = Extrapolated(teacher, 2)
    with torch.autocast("cpu", torch.bfloat16):
        gradient(lambda at: kl(extended(at), student(at)), x)
        found = extended((x + 0.1).requires_grad_())
    at, base, direction, row = extended.expansion
    assert found.dtype == row.dtype == torch.float32
    assert_close(found, base + direction * (row.double() * (x + 0.1 - at).flatten(1)).sum(1, keepdim=True).float())


def test_a_teacher_that_the_objective_only_looks_at_is_run_each_time(tiny, batch):
    teacher, (x, _) = tiny(1), batch
    extended = Extrapolated(teacher, 5)
    for step in range(3):
        at = (x + 0.1 * step).requires_grad_()
        with torch.no_grad():
            assert torch.equal(extended(at), teacher(at))


def test_a_run_that_died_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    def run(name):
        return quick(tmp_path / name, four(Tiny), "adaad", teacher_every=2, label_mixing=0.1, attack=ATTACK)

    def dying(trainer, *arguments):
        if trainer.state.at.step == 4:
            raise KeyboardInterrupt
        step(trainer, *arguments)

    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        run("died")
    monkeypatch.undo()
    whole, died = run("whole"), run("died")
    assert differences(state_of(whole), state_of(died)) == []
    exact = quick(tmp_path / "exact", four(Tiny), "adaad", label_mixing=0.1, attack=ATTACK)
    assert not same_weights(whole.last, exact.last)


def test_a_recipe_keeps_it_and_it_is_off_unless_asked_for():
    recipe = short("adaad", teacher_every=5)
    assert "teacher_every: 5" in recipe.to_yaml() and Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_yaml("method: adaad").teacher_every is None


def test_a_run_for_which_it_spares_nothing_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"RSLAD's attack never queries a frozen teacher at x', .* Leave it out"):
        quick(tmp_path / "run", four(Tiny), "rslad", teacher_every=5)
    assert not (tmp_path / "run").exists()


@dataclass
class Along(AdaAD):
    """AdaAD whose teacher is trained as well."""

    trained = ("robust",)


@pytest.mark.parametrize("method", [RSLAD(), ARD(), SAAD(), RSLAD() + IGDM(), Along()])
def test_where_it_spares_nothing_it_is_refused(method, tiny):
    name = type(method.parts[0]).__name__
    message = rf"has no effect: {name}'s attack never queries a frozen teacher.*Leave it out"
    with pytest.raises(ValueError, match=message):
        Distiller(method, tiny(), teacher_every=5)


@pytest.mark.parametrize("method", [AdaAD(), AdaIAD(), DGAD(), AdaAD() + IGDM()])
def test_where_it_spares_something_it_is_not(method, tiny):
    assert Distiller(method, tiny(), teacher_every=5).teacher_every == 5


@pytest.mark.parametrize("every", [0, -3])
def test_a_number_of_steps_is_positive(every, tiny):
    with pytest.raises(ValueError, match=f"teacher_every must .*{every}"):
        Distiller(AdaAD(), tiny(), teacher_every=every)
