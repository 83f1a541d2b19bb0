"""Splits of images: `load("cifar10", "train")` by name or path, `as_split` for arrays, datasets and loaders."""

from .given import Given, as_split
from .own import HELP
from .registry import collect, describe, load, names
from .split import Split

__all__ = ["HELP", "Given", "Split", "as_split", "collect", "describe", "load", "names"]
