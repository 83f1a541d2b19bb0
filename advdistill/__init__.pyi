"""The public names, as type checkers read them; derived: `make derive`. `__init__.py` imports on first use."""

from . import attacks, data, losses, methods, models, recipes
from .attacks import PGD
from .distiller import Distiller
from .evaluation import evaluate
from .methods import (
    ABSLD,
    AKD2,
    ARD,
    BMTARD,
    CIARD,
    DGAD,
    IAD,
    IADII,
    IGDM,
    MART,
    MTARD,
    PGDAT,
    RSLAD,
    SAAD,
    TRADES,
    AdaAD,
    AdaIAD,
    Batch,
    FairARD,
    FairIAD,
    FairMTARD,
    FairRSLAD,
    Method,
    PeerAiD,
    Standard,
    Term,
)
from .optimizers import SGD, AdamW, TorchOptimizer
from .recipe import Data, Recipe, Schedule
from .results.result import Result
from .run import Run
from .threat import L2, Linf
from .train import distill

__all__ = [
    "ABSLD", "AKD2", "ARD", "AdaAD", "AdaIAD", "AdamW", "BMTARD", "Batch", "CIARD", "DGAD", "Data", "Distiller",
    "FairARD", "FairIAD", "FairMTARD", "FairRSLAD", "IAD", "IADII", "IGDM", "L2", "Linf", "MART", "MTARD", "Method",
    "PGD", "PGDAT", "PeerAiD", "RSLAD", "Recipe", "Result", "Run", "SAAD", "SGD", "Schedule", "Standard", "TRADES",
    "Term", "TorchOptimizer", "attacks", "data", "distill", "evaluate", "losses", "methods", "models", "recipes",
]
__version__: str
