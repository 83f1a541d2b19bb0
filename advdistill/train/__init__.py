"""Training: `distill` trains a student from a recipe, in a run's folder."""

from .setup import distill

__all__ = ["distill"]
