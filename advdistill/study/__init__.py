"""Studies: a matrix of recipes, trained and evaluated alike, and what each choice brings."""

from .matrix import Cell, Study

__all__ = ["Cell", "Study"]
