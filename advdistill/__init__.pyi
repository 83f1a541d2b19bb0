"""The public names, as type checkers read them; derived: `make derive`. `__init__.py` imports on first use."""

from . import attacks, data, losses, methods, models, recipes
from .attacks import PGD
from .distiller import Distiller
from .evaluation import evaluate
from .methods import (
    ABSLD,
    ADR,
    AKD2,
    ARD,
    BMTARD,
    CIARD,
    DGAD,
    HAT,
    IAD,
    IADII,
    IGDM,
    LBGAT,
    LIET,
    MART,
    MTARD,
    MTFARD,
    PGDAT,
    RSLAD,
    SAAD,
    TRADES,
    AdaAD,
    AdaGAT,
    AdaIAD,
    Batch,
    FairARD,
    FairIAD,
    FairMTARD,
    FairRSLAD,
    Method,
    NuAT,
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
from .train.average import EMA, SWA
from .train.awp import AWP
from .train.statistics import update_bn

__all__ = [
    "ABSLD", "ADR", "AKD2", "ARD", "AWP", "AdaAD", "AdaGAT", "AdaIAD", "AdamW", "BMTARD", "Batch", "CIARD", "DGAD",
    "Data", "Distiller", "EMA", "FairARD", "FairIAD", "FairMTARD", "FairRSLAD", "HAT", "IAD", "IADII", "IGDM", "L2",
    "LBGAT", "LIET", "Linf", "MART", "MTARD", "MTFARD", "Method", "NuAT", "PGD", "PGDAT", "PeerAiD", "RSLAD", "Recipe",
    "Result", "Run", "SAAD", "SGD", "SWA", "Schedule", "Standard", "TRADES", "Term", "TorchOptimizer", "attacks",
    "data", "distill", "evaluate", "losses", "methods", "models", "recipes", "update_bn",
]
__version__: str
