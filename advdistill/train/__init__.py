"""Training: `distill` makes a trained student, in a run's folder, of a recipe."""

from .setup import distill

__all__ = ["distill"]
