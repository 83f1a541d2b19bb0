"""Tests of LIET: golden values by hand, twenty steps against a handwritten loop, the attack's start, mistakes."""

import pytest
import torch
import torch.nn.functional as F
from conftest import Tiny
from test_rivals import DOUBLE, Normed, golden
from torch.testing import assert_close
from training import four

from advdistill import LIET, PGD, Distiller, Linf
from advdistill._internal.rng import Rng
from advdistill.attacks import CustomAttack
from advdistill.methods import Batch

ONE_STEP = PGD(1, 0.1, Linf(0.1))


def test_golden_loss_and_gradients():
    loss, (adv, clean, _), _ = golden(LIET(smoothing=0.0, consistency_weight=10.0), 0.3)
    assert loss == pytest.approx(1.5709532152, abs=1e-9)
    by_adv = [[-0.3848577609, 0.3030504630, 0.0818072979], [0.0875850340, 0.3830272199, -0.4706122539]]
    by_clean = [[0.0682715805, -0.0575597214, -0.0107118591], [0.0172624365, -0.0619116565, 0.0446492200]]
    assert_close((adv, clean), (torch.tensor(by_adv, **DOUBLE), torch.tensor(by_clean, **DOUBLE)), rtol=0, atol=1e-9)


def test_the_random_label_by_hand():
    draws = torch.tensor([[0.9, 0.25, 0.5, 0.25], [0.6, 0.0, 0.7, 0.7]])
    expected = torch.tensor([[0.4, 0.225, 0.15, 0.225], [0.24, 0.4, 0.18, 0.18]])
    assert_close(LIET().label(torch.tensor([0, 1]), draws), expected)
    mixture = torch.tensor([[0.75, 0.25, 0.0, 0.0]])  # rest: 1 - mixture = 0.25, 0.75, 1, 1, each times 1 - 0.5
    assert_close(LIET().label(mixture, torch.full((1, 4), 0.5)), torch.tensor([[0.35, 0.25, 0.2, 0.2]]))


def random_label(y, draws, mass=0.6):
    """Return the label as in the release: 1 - mass on the class, the mass on the other classes, by random draws."""
    label = F.one_hot(y, draws.shape[1])
    others = (1 - draws).masked_fill(label.bool(), 0)
    return (1 - mass) * label + mass * others / others.sum(1, keepdim=True)


def step_by_hand(net, x, y, images, progress, rng, outer):
    """Return the loss of a step; as in the release, it uses the graph of S(x0) kept from the attack."""
    net.train()
    sign, share = torch.rand(2, generator=rng.child("start").generator).tolist()
    noise = (x + 0.1 * (2 * rng.uniform(x) - 1)).clamp(0, 1)
    whole = (x - images[y] if sign < 0.5 else x + images[y]).clamp(0, 1)
    start = torch.where(rng.child("noise").uniform(x) < 0.1 + 0.4 * share, noise, whole).requires_grad_()
    begun = net(start)
    label = random_label(y, rng.child("attack").uniform(begun.float()).double())
    (gradient,) = torch.autograd.grad(F.cross_entropy(begun, label), start, retain_graph=True)
    x_adv = (start.detach() + 0.1 * gradient.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    adv = net(x_adv)
    p, q = begun.softmax(1), adv.softmax(1)
    middle = ((p + q) / 2).log()
    js = (F.kl_div(middle, p, reduction="batchmean") + F.kl_div(middle, q, reduction="batchmean")) / 2
    label = random_label(y, outer.child("loss").uniform(adv.float()).double())
    return F.cross_entropy(adv, label) + 100 * progress * js


def label_images_by_hand(net, x, draws):
    net.eval()
    grey = torch.full((4, *x.shape[1:]), 0.5, **DOUBLE, requires_grad=True)
    loss = F.cross_entropy(net(grey), random_label(torch.arange(4), draws))
    return 0.1 * torch.autograd.grad(loss, grey)[0].sign()


def test_twenty_steps_are_those_of_a_loop_by_hand(batch):
    x, y = batch[0].double(), batch[1]
    ours, theirs = (four(Normed)["student"].double() for _ in range(2))
    distiller, images = Distiller(LIET(every=7), attack=ONE_STEP), None
    optimizers = [torch.optim.SGD(net.parameters(), 0.01, 0.9) for net in (ours, theirs)]
    for number in range(20):
        epoch, at = divmod(number, 10)
        rng, progress = Rng(number), (epoch + 1) / 2
        if at in (0, 7):
            draws = torch.rand((4, 4), generator=rng.child("label_images").generator).double()
            images = label_images_by_hand(theirs, x, draws)
        ours.train()
        losses = (
            distiller(ours, x, y, progress=progress, rng=Rng(number)),
            step_by_hand(theirs, x, y, images, progress, rng, rng.child("outer")),
        )
        assert_close(*losses)
        assert_close(distiller.method.state["label_images"], images)
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if at == 9:
            distiller.method.end_epoch(1.0)
    assert_close(ours.state_dict(), theirs.state_dict())  # running statistics and the number of their passes, too


def begun(x, y, rng, **coefficients):
    """Return the images at which the attack starts if the uniform noise is 0, and the label images."""
    made = Batch(x, y, four(Tiny)["student"], threat=Linf(0.1), rng=rng)
    return LIET(**coefficients).begin(made, torch.zeros_like(x)), made.notes["label_images"]


def test_the_start_is_a_label_image_up_or_down_for_the_whole_batch(batch):
    x, y = batch
    signs = set()
    for seed in range(8):
        start, images = begun(x, y, Rng(seed), least_noise=0.0, most_noise=0.0)
        assert images.shape == (4, *x.shape[1:]) and torch.equal(images.abs(), torch.full_like(images, 0.1))
        fits = [sign for sign in (1, -1) if torch.equal(start, (x + sign * images[y]).clamp(0, 1))]
        assert len(fits) == 1
        signs.update(fits)
    assert signs == {1, -1}


def test_a_share_of_the_start_is_noise():
    x, y = torch.full((64, 1, 16, 16), 0.5), torch.zeros(64, dtype=torch.int64)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4))
    shares = []
    for seed in range(6):
        made = Batch(x, y, student, threat=Linf(0.1), rng=Rng(seed))
        noisy = LIET().begin(made, torch.zeros_like(x)) == 0
        _, drawn = torch.rand(2, generator=Rng(seed).child("start").generator)
        shares.append(noisy.float().mean().item())
        assert shares[-1] == pytest.approx(0.1 + 0.4 * drawn.item(), abs=0.015)
    assert 0.09 < min(shares) < 0.3 < max(shares) < 0.51


def test_parts_of_a_batch_begin_where_the_whole_does(batch):
    x, y = batch
    whole, images = begun(x, y, Rng(3))
    for rows in (slice(0, 4), slice(4, 6)):
        part, same = begun(x[rows], y[rows], Rng(3, start=rows.start, total=6))
        assert torch.equal(part, whole[rows]) and torch.equal(same, images)


def test_label_images_are_made_anew_every_so_many_batches_and_not_by_an_attack_alone(batch):
    distiller, net = Distiller(LIET(every=2), attack=ONE_STEP), four(Tiny)["student"]
    kept = []
    for number in range(4):
        distiller.craft(net, *batch, rng=Rng(100 + number))  # an attack alone, such as for batch-norm's statistics
        distiller(net, *batch, rng=Rng(number))
        kept.append(distiller.method.state["label_images"])
    fresh = [begun(*batch, Rng(number))[1] for number in (0, 2)]
    for found, expected in zip(kept, (fresh[0], fresh[0], fresh[1], fresh[1]), strict=True):
        assert torch.equal(found, expected)


def test_an_attack_of_ones_own_begins_itself(batch):
    x, y = batch

    def brighter(model, x, y, *, rng):
        return x + 0.05

    distiller = Distiller("liet", attack=CustomAttack(brighter, Linf(0.1)))
    net = four(Tiny)["student"]
    made = distiller.craft(net, x, y, progress=0.5, rng=Rng(0))
    js = distiller.losses(made, net)["consistency"]
    p, q = net(x).softmax(1), net(made.x_adv).softmax(1)
    middle = (p + q) / 2
    assert_close(js, 25 * ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)), rtol=1e-3, atol=1e-5)
    assert "label_images" not in distiller.method.state


def test_a_student_that_is_attacked_in_eval_mode_may_be_folded(batch):
    attack = PGD(1, 0.1, Linf(0.1), student_mode="eval")
    plain, folded = (Distiller("liet", attack=attack, fast=fast) for fast in (None, torch.float32))
    made = [distiller.craft(four(Normed)["student"], *batch, rng=Rng(0)) for distiller in (plain, folded)]
    assert_close(made[0].x_adv, made[1].x_adv)


@pytest.mark.parametrize(("coefficients", "message"), [
    ({"smoothing": 1.0}, r"smoothing of LIET must be a share in \[0, 1\), got 1.0"),
    ({"smoothing": -0.1}, "smoothing of LIET must be a finite number of at least 0, got -0.1"),
    ({"consistency_weight": -1.0}, "consistency_weight of LIET must be a finite number of at least 0"),
    ({"least_noise": 0.6}, "least_noise and most_noise of LIET must be shares, .* in order; got 0.6 and 0.5"),
    ({"most_noise": 1.5}, "least_noise and most_noise of LIET must be shares, at most 1 .*; got 0.1 and 1.5"),
    ({"every": 0}, "every of LIET must be a number of batches, at least 1, got 0"),
])  # fmt: skip
def test_mistakes_are_explained(coefficients, message):
    with pytest.raises(ValueError, match=message):
        LIET(**coefficients)


@pytest.mark.parametrize("options", [{"start": "last"}, {"stop_after": 0}])
def test_an_attack_whose_start_or_end_is_another_is_refused(options):
    with pytest.raises(ValueError, match="LIET makes its x' by itself, so that .* would have no effect"):
        Distiller("liet", attack=PGD(1, 0.1, Linf(0.1), **options))
