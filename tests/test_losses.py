import math

import pytest
import torch
from torch.testing import assert_close

from advdistill.losses import cross_entropy, jensen_shannon, kl, margin

P = torch.tensor([[math.log(3.0), 0.0]])  # softmax: 3/4, 1/4
Q = torch.tensor([[0.0, 0.0]])


def test_kl_by_hand():
    assert_close(kl(P, Q), torch.tensor([0.75 * math.log(1.5) + 0.25 * math.log(0.5)]))
    assert_close(kl(Q, P), torch.tensor([0.5 * math.log(2 / 3) + 0.5 * math.log(2.0)]))


def test_kl_temperature_divides_both_logits():
    assert_close(kl(2 * P, 2 * Q, temperature=2.0), kl(P, Q))


def test_kl_offset_changes_the_value_but_not_the_students_gradient():
    q = Q.clone().requires_grad_()
    plain, offset = kl(P, q), kl(P, q, offset=1e-5)
    assert_close(offset - plain, (P.softmax(1) * (1 + 1e-5 / P.softmax(1)).log()).sum(1), rtol=0.05, atol=0)
    assert_close(torch.autograd.grad(plain, q), torch.autograd.grad(offset, q))


def test_kl_gradient_flows_into_the_target_too():
    p = P.clone().requires_grad_()
    assert torch.autograd.grad(kl(p, Q).sum(), p)[0].abs().sum() > 0.1


def test_jensen_shannon_by_hand():
    first, second, middle = (0.75, 0.25), (0.5, 0.5), (0.625, 0.375)
    expected = sum(p * math.log(p / m) / 2 for row in (first, second) for p, m in zip(row, middle, strict=True))
    assert_close(jensen_shannon(P, Q), torch.tensor([expected]))
    assert_close(jensen_shannon(Q, P), torch.tensor([expected]))
    far = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    found = jensen_shannon(far, torch.tensor([[0.0, 1e4, 0.0]]))  # the third class has no mass in either
    assert_close(found, torch.tensor([math.log(2.0)]))
    assert torch.autograd.grad(found.sum(), far)[0].isfinite().all()


def test_cross_entropy_is_per_example():
    assert_close(cross_entropy(P.repeat(2, 1), torch.tensor([0, 1])), -torch.tensor([0.75, 0.25]).log())


@pytest.mark.parametrize(("confidence", "expected"), [(math.inf, [-2.0, 3.0]), (1.0, [-2.0, 1.0])])
def test_margin(confidence, expected):
    logits = torch.tensor([[3.0, 1.0, 0.0], [2.0, -1.0, 0.0]])
    assert_close(margin(logits, torch.tensor([0, 1]), confidence), torch.tensor(expected))
