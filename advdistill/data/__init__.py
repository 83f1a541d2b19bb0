"""Datasets as splits of uint8 images: `load("cifar10", "train")`."""

from .registry import describe, load, names
from .split import Split

__all__ = ["Split", "describe", "load", "names"]
