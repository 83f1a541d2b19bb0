"""Tests of black-box attacks: adversarial images transferred from a surrogate, and Square with 100 queries."""

import pytest
import torch
from conftest import linear

from advdistill import data, evaluate
from advdistill._internal.rng import Rng
from advdistill.attacks.suites import ATTACKS
from advdistill.data.batches import to_float
from advdistill.models.digest import digest
from advdistill.threat import Linf

TEST, THREAT = data.load("digits", "test").first(80), Linf(0.06)
X, Y = to_float(TEST.images), TEST.labels


@pytest.fixture(scope="module")
def model():
    return linear(X[:40], Y[:40], 10)


@pytest.fixture(scope="module")
def surrogate():
    return linear(X[40:], Y[40:], 10)


@pytest.mark.parametrize("name", ["pgd-20-trades", "cw-30"])
def test_the_surrogates_adversarial_images_are_evaluated_by_the_model(name, model, surrogate):
    result = evaluate(model, TEST, THREAT, f"{name},transfer-{name}", surrogate=surrogate)
    attack = ATTACKS[name](THREAT)
    x_adv = attack.pgd(lambda x_adv: attack.loss(surrogate(x_adv), Y), X, Rng(0, "attack", 0))
    right = int((model(x_adv).argmax(1) == Y).sum())
    moved = result[f"transfer-{name}"]
    assert result[name].correct < moved.correct == right < len(TEST)
    weights = digest(surrogate)
    assert moved.settings == f"{result[name].settings}, transferred from a model of weights {weights}"


def test_the_whole_suite(model, surrogate):
    result = evaluate(model, TEST, THREAT, "blackbox", surrogate=surrogate)
    attacks = ["clean", "square-100", "transfer-pgd-20-trades", "transfer-cw-30"]
    assert [m.attack for m in result.measurements] == attacks
    assert result["square-100"].settings == "Square, 100 queries, Linf 0.06"
    assert result["square-100"].correct < result["clean"].correct


def test_the_model_itself_as_surrogate_is_the_white_box(model):
    result = evaluate(model, TEST, THREAT, "cw-30,transfer-cw-30", surrogate=model)
    assert result["transfer-cw-30"].correct == result["cw-30"].correct


def test_an_accelerated_transfer_says_so(model, surrogate):
    result = evaluate(model, TEST, THREAT, "transfer-cw-30", surrogate=surrogate, accelerated=True)
    assert result["transfer-cw-30"].settings.endswith(", classified in fp32")
    exact = evaluate(model, TEST, THREAT, "transfer-cw-30", surrogate=surrogate)
    assert abs(result["transfer-cw-30"].correct - exact["transfer-cw-30"].correct) <= 2


def test_without_a_surrogate_nothing_is_attacked(model):
    lines = []
    with pytest.raises(ValueError, match="transfer-pgd-20-trades takes its .* from another model.* Give --surrogate"):
        evaluate(model, TEST, THREAT, "blackbox", report=lines.append)
    with pytest.raises(ValueError, match="gives 3 logits, the split has 10 classes"):
        evaluate(model, TEST, THREAT, "blackbox", surrogate=linear(X[:9], Y[:9] % 3, 3), report=lines.append)
    assert not lines


def test_another_surrogate_is_another_evaluation(model, surrogate, tmp_path):
    evaluate(model, TEST, THREAT, "transfer-cw-30", surrogate=surrogate, keep=tmp_path / "v")
    with pytest.raises(ValueError, match=r"another kind \(surrogate differ\)"):
        evaluate(model, TEST, THREAT, "transfer-cw-30", surrogate=model, keep=tmp_path / "v")


def test_same_verdicts_for_a_surrogate_on_a_gradient_tape(model, surrogate):
    surrogate.requires_grad_(True)
    evaluate(model, TEST.first(8), THREAT, "transfer-cw-30", surrogate=surrogate)
    assert all(p.grad is None and p.requires_grad for p in surrogate.parameters())
    surrogate.requires_grad_(False)
    assert torch.is_grad_enabled()
