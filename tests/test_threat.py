import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advdistill._internal.rng import Rng
from advdistill.threat import L2, Linf, parse, pixels, show_pixels

THREATS = [Linf("8/255"), Linf(0.2), L2("128/255"), L2(2.0)]


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.031", 0.031), (0.5, 0.5), (0, 0.0), ("1", 1.0)])
def test_pixels(text, value):
    assert pixels(text) == value


@pytest.mark.parametrize(("value", "message"), [
    (8, r"eps must lie in \[0, 1\], in units of pixels in \[0, 1\]; got 8. Did you mean '8/255'\?"),
    ("8", "Did you mean '8/255'"),
    (-0.1, r"eps must lie in \[0, 1\].*got -0.1."),
    ("8/0", "eps must be a number such as 0.03 or '8/255', got '8/0'"),
    ("eight", "got 'eight'"),
    (float("nan"), r"must lie in \[0, 1\]"),
    (None, "must be a number"),
])  # fmt: skip
def test_pixels_refuses(value, message):
    with pytest.raises(ValueError, match=message):
        pixels(value)


def test_l2_refuses_a_bare_8_as_well():
    with pytest.raises(ValueError, match=r"eps must lie in \[0, 5\].*Did you mean '8/255'"):
        L2(8)


@pytest.mark.parametrize("value", ["8/255", "1/255", "0.031", "0.2", "0"])
def test_show_pixels_reads_back(value):
    assert show_pixels(pixels(value)) == value


@pytest.mark.parametrize("threat", [*THREATS, Linf(0), Linf("1/255"), Linf(0.0313), L2("255/255")], ids=str)
def test_what_a_threat_prints_is_read_back(threat):
    assert parse(str(threat)) == threat


@pytest.mark.parametrize(("text", "message"), [
    ("8/255", "a norm and an eps, such as 'Linf 8/255'; got '8/255'"),
    ("Linf", "got 'Linf'"),
    ("", "got ''"),
    ("linf 8/255", "Unknown norm 'linf'. Did you mean 'Linf'?"),
    ("L1 0.5", "Unknown norm 'L1'"),
    ("Linf 8", "Did you mean '8/255'"),
    ("L2 far", "eps must be a number"),
])  # fmt: skip
def test_what_is_no_threat_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@given(seed=st.integers(0, 2**31), scale=st.floats(0, 10))
def test_projection_ends_in_the_ball_and_the_box(threat, seed, scale):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 2, 4, 4, generator=rng)
    projected = threat.project(x + scale * torch.randn(x.shape, generator=rng), x)
    assert threat.distance(projected, x).max() <= threat.eps + 1e-6
    assert projected.min() >= 0 and projected.max() <= 1
    torch.testing.assert_close(threat.project(projected, x), projected)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_samples_fill_the_ball(threat):
    x = torch.zeros(2000, 1, 2, 2)
    distance = threat.distance(x + threat.sample(x, Rng(0)), x)
    assert distance.max() <= threat.eps + 1e-6
    # four dimensions: P(distance <= r) = (r / eps)^4, so the median is eps / 2^(1/4) for either norm
    torch.testing.assert_close(distance.median().item(), threat.eps / 2**0.25, rtol=0.02, atol=0)


def test_ascent_is_steepest():
    gradient = torch.tensor([3.0, -4.0, 0.0, 0.0]).view(1, 1, 2, 2)
    x = torch.zeros(1, 1, 2, 2)
    assert Linf(0.1).ascend(x, gradient, 0.1).flatten().tolist() == pytest.approx([0.1, -0.1, 0, 0])
    assert L2(0.1).ascend(x, gradient, 0.1).flatten().tolist() == pytest.approx([0.06, -0.08, 0, 0])
