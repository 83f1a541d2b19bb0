"""The models: a small zoo, and loading and saving of weights. Normalisation is always inside the model."""

from .classifier import Classifier, ModelSpec
from .loading import from_pretrained, load
from .saving import save
from .zoo import create, describe, names

__all__ = ["Classifier", "ModelSpec", "create", "describe", "from_pretrained", "load", "names", "save"]
