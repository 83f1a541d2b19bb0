"""Datasets as splits of images: by name, `load("cifar10", "train")`, by path, or `as_split` of what one has."""

from .given import Given, as_split
from .own import HELP
from .registry import collect, describe, load, names
from .split import Split

__all__ = ["HELP", "Given", "Split", "as_split", "collect", "describe", "load", "names"]
