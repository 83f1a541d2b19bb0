import pyautoattack
import pytest
import torch
from conftest import linear
from pyautoattack.square import SquareAttack
from torch import nn

from advdistill import data
from advdistill.acceleration.frozen import Frozen
from advdistill.attacks.square import Square
from advdistill.data.batches import to_float
from advdistill.threat import L2, Linf


def digits(classes=10, n=48):
    """Images `[n, 1, 8, 8]`, labels below `classes`, and a model for them."""
    split = data.load("digits", "test")
    split = split.take((split.labels < classes).nonzero()[:, 0])
    x, y = to_float(split.images), split.labels
    return x[:n], y[:n], linear(x, y, classes)


def run(square, model, x, y, **options):
    """Return x', and which images are still classified correctly."""
    x_adv, correct = square.run(model, x, y, **options)
    return x_adv, correct.get("square", correct["clean"])


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.6)])
@pytest.mark.parametrize("classes", [10, 2])
def test_verdicts_are_the_librarys_image_by_image(threat, classes):
    x, y, model = digits(classes)
    library = SquareAttack(model, threat.name, n_queries=100, eps=threat.eps, seed=3)  # otherwise library defaults
    right = model(x).argmax(1) == y
    theirs = x.clone()
    with torch.random.fork_rng(), torch.no_grad():
        theirs[right] = library.perturb(x[right], y[right])
    x_adv, standing = run(Square(threat), model, x, y, seed=3)
    assert standing.dtype == torch.bool and 0 < standing.sum() <= right.sum()
    assert classes == 2 or standing.sum() < right.sum()
    assert torch.equal(standing, model(theirs).argmax(1) == y) and torch.equal(x_adv, theirs)


def test_every_counted_break_is_inside():
    x, y, model = digits()
    threat = Linf(0.1)
    x_adv, standing = run(Square(threat), model, x, y)
    assert threat.distance(x_adv, x).max() <= threat.eps + 1e-6 and 0 <= x_adv.min() and x_adv.max() <= 1
    assert torch.equal(model(x_adv).argmax(1) == y, standing)
    assert torch.equal(x_adv[standing], x[standing])


def test_what_the_library_breaks_outside_the_threat_does_not_count(monkeypatch):
    x, y, model = digits()
    monkeypatch.setattr(pyautoattack.AutoAttack, "run_standard_evaluation", lambda self, x, y, batch_size: (1 - x, y))
    x_adv, standing = run(Square(Linf(0.1)), model, x, y)
    assert torch.equal(standing, model(x).argmax(1) == y) and torch.equal(x_adv, x)


def test_it_asks_no_more_than_its_queries():
    x, y, model = digits(n=8)
    y = model(x).argmax(1)
    sizes = []

    def stubborn(images):  # right on everything, so that the search never ends early
        sizes.append(len(images))
        return 9.0 * nn.functional.one_hot(y, 10).float()[: len(images)]

    asked = {}
    for queries in (1, 7):
        sizes.clear()
        _, standing = run(Square(Linf(0.1), queries), stubborn, x, y)
        assert standing.all()
        asked[queries] = len(sizes)
    assert asked[7] - asked[1] == 6


def test_the_squares_shrink_over_the_queries(monkeypatch):
    shares, real = [], SquareAttack.p_selection
    monkeypatch.setattr(SquareAttack, "p_selection", lambda self, it: shares.append(real(self, it)) or shares[-1])
    x, y, model = digits(n=8)
    run(Square(Linf(0.001)), model, x, y)
    assert len(shares) == 100 and shares[0] == 0.8 and shares[-1] == 0.8 / 512


def test_more_queries_and_a_larger_eps_break_more():
    x, y, model = digits()
    counts = [
        run(Square(Linf(eps), queries), model, x, y)[1].sum() for eps, queries in [(0.1, 1), (0.1, 100), (0.3, 100)]
    ]
    assert counts[0] > counts[1] > counts[2]


def test_draws_depend_on_the_seed_alone_and_the_global_generator_is_left_alone():
    x, y, model = digits()
    first, _ = run(Square(Linf(0.1)), model, x, y, seed=1)
    torch.rand(7)
    before = torch.get_rng_state()
    second, _ = run(Square(Linf(0.1)), model, x, y, seed=1)
    other, _ = run(Square(Linf(0.1)), model, x, y, seed=2)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_eps_0_an_image_alone_and_a_model_without_a_right_answer():
    x, y, model = digits()
    clean = model(x).argmax(1)
    x_adv, standing = run(Square(Linf(0)), model, x, y)
    assert torch.equal(standing, clean == y) and torch.equal(x_adv, x)
    assert run(Square(Linf(0.1)), model, x[:1], clean[:1])[1].shape == (1,)
    assert not run(Square(Linf(0.1)), model, x, (clean + 1) % 10)[1].any()


def test_verdicts_are_the_models_own_whatever_is_searched():
    x, y, model = digits()
    plain_x_adv, plain = run(Square(Linf(0.1)), model, x, y)
    x_adv, standing = run(Square(Linf(0.1)), model, x, y, attacked=lambda x: -model(x))  # calls every image wrong
    assert torch.equal(standing, plain) and torch.equal(x_adv, plain_x_adv)
    x_adv, standing = run(Square(Linf(0.1)), model, x, y, attacked=Frozen(model, torch.bfloat16))
    assert torch.equal(model(x_adv).argmax(1) == y, standing) and (standing != plain).sum() <= 2


def test_the_librarys_warnings_go_to_report_and_nowhere_else(capfd):
    x, y, model = digits(n=8)
    lines = []
    run(Square(Linf(0.1), 3), nn.Sequential(model, nn.Softmax(1)), x, y, report=lines.append)
    run(Square(Linf(0.1), 3), nn.Sequential(model, nn.Softmax(1)), x, y)
    assert len(lines) == 1 and "probability distribution" in lines[0]
    assert capfd.readouterr() == ("", "")


def test_it_says_its_settings_and_refuses_none():
    assert Square(Linf("8/255")).describe(10) == "Square, 100 queries, Linf 8/255"
    with pytest.raises(ValueError, match="at least 1 query, got queries=0. The usual number is 100"):
        Square(Linf("8/255"), 0)


def test_a_missing_library_is_named_before_the_attack(without):
    x, y, model = digits(n=2)
    without("pyautoattack")
    with pytest.raises(ImportError, match=r'needs the package pyautoattack.*pip install "advdistill\[eval\]"'):
        run(Square(Linf(0.1)), model, x, y)
