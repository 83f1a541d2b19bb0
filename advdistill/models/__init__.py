"""The networks: a small zoo, and weights put into it from files. Normalisation is always inside."""

from .classifier import Classifier, ModelSpec
from .loading import from_pretrained, load
from .saving import save
from .zoo import create, describe, names

__all__ = ["Classifier", "ModelSpec", "create", "describe", "from_pretrained", "load", "names", "save"]
