"""Where a figure becomes a finding. Shares are of the images; a pair is where to warn and where to fail."""

import math

import torch

ROUNDING = 1e-3  # of a usual logit; fp32 sums in another order differ by about 1e-6 of it
NO_GRADIENT = 0.01  # one image in a dead corner is chance, more are a property of the model
VANISHED = 1e-6  # nats: the label's probability is a few fp32 roundings from 1
MOSTLY = 0.5  # confident models have some such images, and the gradient's sign still leads somewhere
SCALE = -math.log(torch.finfo(torch.float32).tiny)  # 87.3: behind such a gap a probability is no normal fp32 number
UNBOUNDED = 0.01  # without a bound nothing stands, but a few images may outlive 20 coarse steps; above chance fails
LONGER = (0.03, 0.08)  # sound models lose up to 3 points more to the longer attack
LOSSES = 0.1  # sound models stand one loss up to 9 points better than the other, either way
BLACK_BOX = (0.005, 0.02)  # after three white-box attacks, few queries should find next to nothing
