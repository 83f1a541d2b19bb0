"""Evaluation: a model, a split and a suite of attacks in, a `Result` out."""

from ..attacks.suites import ATTACKS, SUITES
from .curve import robust_curve
from .evaluate import evaluate
from .gradients import Alignment, gradient_alignment

__all__ = ["ATTACKS", "SUITES", "Alignment", "evaluate", "gradient_alignment", "robust_curve"]
