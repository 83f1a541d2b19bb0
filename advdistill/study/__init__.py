"""Studies: a matrix of recipes, trained and evaluated in the same way, and the effect of each choice."""

from .matrix import Cell, Study

__all__ = ["Cell", "Study"]
