"""Cheaper training attacks: one step, a start at the image's last x', early stopping per image."""

from dataclasses import replace

import pytest
import torch
from conftest import Tiny
from torch import nn
from torch.testing import assert_close
from training import died_before, four, quick, quick_data, short, state_of

from advdistill import L2, PGD, PGDAT, RSLAD, TRADES, Data, Distiller, Linf, Recipe, distill
from advdistill._internal.rng import Rng
from advdistill.losses import cross_entropy, kl
from advdistill.methods import FairARD, Standard, build
from advdistill.train.divergence import remedy
from advdistill.train.schedule import attack_at

EPS = 8 / 255
FGSM_RS = PGD(1, "10/255", Linf("8/255"), "uniform", "train", allow_step_above_eps=True)
N_FGSM = PGD(1, "8/255", Linf("8/255"), "uniform", "train", start_radius=2, projected=False)
LAST = PGD(1, 0.1, Linf(0.1), "last")


class Given(Rng):
    """The draws u in [-1, 1] of rivals.md, 10.3, instead of random ones."""

    def uniform(self, like):
        return (torch.tensor([[-0.9, 0.4], [0.8, -0.25]], dtype=like.dtype).view(like.shape) + 1) / 2


@pytest.mark.parametrize(("attack", "start", "found", "loss"), [
    (FGSM_RS, [[0, 0.5125490196], [0.9950980392, 0.3921568627]], [[0, 0.5313725490], [1, 0.3686274510]], 2.4954520950),
    (N_FGSM, [[0, 0.5250980392], [1, 0.3843137255]], [[0, 0.5564705882], [1, 0.3529411765]], 2.5287418652),
], ids=["fgsm_rs", "n_fgsm"])  # fmt: skip
def test_golden_vectors_of_one_step(attack, start, found, loss):
    weights = torch.tensor([[1.0, -2.0], [0.5, 1.0], [-1.5, 0.3]], dtype=torch.float64)
    x = torch.tensor([[0.02, 0.5], [0.97, 0.40]], dtype=torch.float64).view(2, 1, 1, 2)
    y = torch.tensor([0, 2])

    def objective(images):
        return cross_entropy(images.flatten(1) @ weights.T, y)

    begin, x_adv = attack.begin(x, Given(0)), attack(objective, x, Given(0))
    assert_close(begin.flatten(1), torch.tensor(start, dtype=torch.float64), rtol=0, atol=1e-9)
    assert_close(x_adv.flatten(1), torch.tensor(found, dtype=torch.float64), rtol=0, atol=1e-9)
    assert objective(x_adv).mean().item() == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize(("attack", "radius", "step", "bound"), [
    (FGSM_RS, EPS, 10 / 255, EPS), (N_FGSM, 2 * EPS, EPS, 1.0)
], ids=["fgsm_rs", "n_fgsm"])  # fmt: skip
def test_twenty_steps_are_those_of_a_loop_by_hand(tiny, batch, attack, radius, step, bound):
    class Normed(Tiny):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Sequential(self.hidden, nn.BatchNorm1d(8))

    (x, y), ours, theirs = batch, *(four(Normed)["student"] for _ in range(2))
    distiller = Distiller(PGDAT(), attack=attack)
    optimizers = [torch.optim.SGD(net.parameters(), 0.1, 0.9) for net in (ours, theirs)]
    for number in range(20):
        loss = distiller(ours, x, y, rng=Rng(number))
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        start = (x + radius * (2 * Rng(number).uniform(x) - 1)).clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(theirs(start), y), start)
        x_adv = (start.detach() + step * gradient.sign()).clamp(x - bound, x + bound).clamp(0, 1)
        optimizers[1].zero_grad()
        nn.functional.cross_entropy(theirs(x_adv), y).backward()
        optimizers[1].step()
    assert_close(ours.state_dict(), theirs.state_dict())


def test_half_of_eps_up_or_down(batch):
    x = 0.3 + 0.4 * batch[0]
    start = PGD(1, 0.1, Linf(0.1), "signs").begin(x, Rng(0))
    assert_close((start - x).abs(), torch.full_like(x, 0.05))
    assert 0.3 < ((start - x) > 0).float().mean() < 0.7


def test_the_attack_starts_where_the_image_ended_the_last_time(tiny, batch):
    (x, y), student = batch, tiny()
    distiller, index = Distiller(PGDAT(), attack=LAST), torch.tensor([3, 0, 5, 1, 7, 4])
    first = distiller.craft(student, x, y, rng=Rng(0), index=index)
    distiller.losses(first, student)
    state = distiller.method.state["last x_adv"]
    assert state.dtype == torch.int8 and state.shape == (8, 1, 4, 4)
    assert_close((first.x_adv - x) * 127 / 0.1, state[index].float(), rtol=0, atol=0.51)
    again = distiller.craft(student, x.flip(0), y.flip(0), rng=Rng(1), index=index.flip(0))
    start = (x + state[index] * 0.1 / 127).clamp(0, 1).flip(0)
    expected = LAST.climb(lambda z: cross_entropy(student(z), y.flip(0)), x.flip(0), start)
    assert_close(again.x_adv, expected)
    fresh = distiller.craft(student, x, y, rng=Rng(2), index=index + 8)  # unknown images: uniform in the ball
    begun = Linf(0.1).sample(x, Rng(2))
    expected = LAST.climb(lambda z: cross_entropy(student(z), y), x, (x + begun).clamp(0, 1))
    assert_close(fresh.x_adv, expected, rtol=0, atol=0.1 / 127)


def test_last_starts_keep_their_share_of_an_eps_that_grows(tiny, batch):
    (x, y), student, index = batch, tiny(), torch.arange(6)
    distiller = Distiller(PGDAT(), attack=LAST)
    whole = distiller.attack
    distiller.attack = attack_at(Recipe(attack=LAST, eps_warmup=2.0), whole, 0)
    first, distiller.attack = distiller.craft(student, x, y, rng=Rng(0), index=index), whole
    distiller.losses(first, student)
    state = distiller.method.state["last x_adv"]
    assert state.abs().max() == 127
    assert_close((first.x_adv - x) * 127 / 0.05, state.float(), rtol=0, atol=0.51)
    start = (x + state * 0.1 / 127).clamp(0, 1)
    expected = LAST.climb(lambda z: cross_entropy(student(z), y), x, start)
    assert_close(distiller.craft(student, x, y, rng=Rng(1), index=index).x_adv, expected)


@pytest.mark.parametrize("fast", [None, torch.float32], ids=["plain", "folded"])
@pytest.mark.parametrize("mixing", [0.0, 0.2])
@pytest.mark.parametrize("stop_after", [0, 1])
def test_an_image_ends_so_many_steps_after_its_first_error(tiny, batch, stop_after, mixing, fast):
    (x, y), student, teacher = batch, tiny(0), tiny(1)
    y = student(x).argmax(1)
    attack = PGD(6, 0.05, Linf(0.3), "none", stop_after=stop_after)
    distiller = Distiller(RSLAD(), teacher, attack=attack, label_mixing=mixing, fast=fast)
    found = distiller.craft(student, x, y, rng=Rng(0)).x_adv
    label = nn.functional.one_hot(y, 4)
    soft = ((1 - mixing) * teacher(x).softmax(1) + mixing * label).log().detach()
    taken = []
    for image, target, answer in zip(x.split(1), y, soft.split(1), strict=True):
        x_adv, left, steps = image, stop_after, 0
        for steps in range(7):  # noqa: B007  the number at which it ended
            wrong = student(x_adv).argmax(1) != target
            if steps == 6 or (wrong and not left):
                break
            left -= int(wrong)
            x_adv = replace(attack, steps=1, stop_after=None).climb(lambda z: kl(answer, student(z)), image, x_adv)  # noqa: B023
        taken.append(steps)
        assert_close(found[len(taken) - 1 : len(taken)], x_adv, rtol=0, atol=1e-5)
    assert len(set(taken)) > 1, "images of one batch end at different steps"


def test_images_that_are_broken_cost_nothing_more(tiny, batch):
    x, student, images = batch[0], tiny(), []
    attack = PGD(10, 0.05, Linf(0.3), "gaussian", stop_after=0)
    student.register_forward_hook(lambda module, given, output: images.append(len(given[0])))
    crafted = Distiller(TRADES(), attack=attack).craft(student, x, student(x).argmax(1), rng=Rng(0))
    assert (student(crafted.x_adv).argmax(1) != crafted.y).any()
    assert sum(images[-9:]) < 9 * len(x)


def test_last_starts_are_refused_on_other_data(tmp_path, monkeypatch):
    recipe = short("pgd_at", attack=PGD(1, 0.1, Linf(0.2), "last"), epochs=2, batch_size=24, data=Data("random"))

    def go(split):
        return distill(recipe, tmp_path / "run", train=split, accelerator="cpu", student=four(Tiny)["student"])

    died_before(monkeypatch, 4, lambda: go(quick_data()))
    with pytest.raises(ValueError, match=r"began with other data \(images\)\. "):
        go(replace(quick_data(), images=255 - quick_data().images))
    (stored,) = state_of(go(quick_data()))["method"]
    assert stored["last x_adv"].dtype == torch.int8 and stored["last x_adv is stored"].all()


def test_a_recipe_holds_every_field_and_an_attack_prints_them():
    recipe = Recipe(PGDAT(), attack=replace(N_FGSM, stop_after=0))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert str(N_FGSM) == "PGD-1, Linf 8/255, step 8/255, uniform start in 2 eps, not projected"
    assert str(PGD(10, 0.1, Linf(0.2), stop_after=1)).endswith("step 0.1, stopped 1 steps after an error")


def test_the_collapse_detector_names_the_wide_start_to_one_step_only():
    assert "--attack.start-radius 2 --attack.no-projected" in remedy(FGSM_RS)
    assert "start-radius" not in remedy(N_FGSM) + remedy(PGD(10))


@pytest.mark.parametrize(("action", "message"), [
    (lambda: PGD(1, "10/255", Linf("8/255")), "Were the two swapped. If not, as in FGSM-RS, set allow_step_above_eps"),
    (lambda: PGD(start="gaussian", start_radius=2), "start_radius requires a uniform start.*got 2 with the start 'ga"),
    (lambda: PGD(start_radius=0), "above 0 and at most 10, in units of eps; got 0"),
    (lambda: PGD(1, 0.1, L2(0.5), "signs"), "start 'signs' requires a Linf threat model; got L2 0.5. Set start='uni"),
    (lambda: PGD(10, stop_after=10), "stop_after is a number of steps below steps=10, at least 0; got 10"),
    (lambda: Distiller(TRADES(), attack=N_FGSM.__class__(start_radius=2)), "got 2 with the start 'gaussian'"),
    (lambda: Distiller("ard", Tiny(), attack=PGD(stop_after=0)), "in train mode changes.*Set student_mode='eval'"),
    (lambda: Distiller("adaad", Tiny(), attack=PGD(stop_after=0), teacher_every=2), "stop_after=0 and teacher_every=2"),
    (lambda: Distiller("pgd_at", attack=PGD(stop_after=0), fast=torch.float32, compiled=True), "Leave out compile, or"),
])  # fmt: skip
def test_mistakes_are_explained(action, message):
    with pytest.raises(ValueError, match=message):
        action()


def test_what_a_method_needs_of_all_images_is_refused(tiny, batch):
    class Own(PGDAT):
        def craft(self, batch, attack):
            return attack(self.inner(batch), batch.x, batch.rng)

    with pytest.raises(ValueError, match=r"Own makes its x' by itself, so that start='last' would have no effect"):
        Distiller(Own(), attack=LAST)
    with pytest.raises(ValueError, match="'last x_adv' is stored for each image, and this training loop does not"):
        Distiller(PGDAT(), attack=LAST).craft(tiny(), *batch)
    fair = Distiller(FairARD(), tiny(1), attack=PGD(3, 0.05, Linf(0.1), student_mode="eval", stop_after=0))
    with pytest.raises(ValueError, match="FairARD notes something of every image at every step of the attack"):
        fair.craft(tiny(), *batch)


def test_without_an_attack_they_change_nothing(batch, tiny):
    for attack in (LAST, PGD(3, 0.05, Linf(0.1), stop_after=0)):
        made = Distiller(Standard(), attack=attack).craft(tiny(), *batch, index=torch.arange(6))
        assert made.x_adv is batch[0]


def test_twenty_steps_with_early_ends_run_with_every_kind_of_teacher(tmp_path):
    done = quick(tmp_path / "run", four(Tiny), {"saad": {}}, pgd={"steps": 3, "step_size": 0.1, "stop_after": 1})
    assert state_of(done)["position"]["step"] == 6 and build("saad") == done.recipe.method
