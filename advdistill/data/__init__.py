"""Datasets as splits of uint8 images: `load("cifar10", "train")`, or your own: `load("flowers", "train")`."""

from .own import HELP
from .registry import collect, describe, load, names
from .split import Split

__all__ = ["HELP", "Split", "collect", "describe", "load", "names"]
