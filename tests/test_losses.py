import math

import pytest
import torch
from torch.testing import assert_close

from advdistill.losses import cross_entropy, kl, margin

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


def test_cross_entropy_is_per_example():
    assert_close(cross_entropy(P.repeat(2, 1), torch.tensor([0, 1])), -torch.tensor([0.75, 0.25]).log())


@pytest.mark.parametrize(("confidence", "expected"), [(math.inf, [-2.0, 3.0]), (1.0, [-2.0, 1.0])])
def test_margin(confidence, expected):
    logits = torch.tensor([[3.0, 1.0, 0.0], [2.0, -1.0, 0.0]])
    assert_close(margin(logits, torch.tensor([0, 1]), confidence), torch.tensor(expected))
