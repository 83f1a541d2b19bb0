"""Adversarial robust distillation: a method pairs an attack's objective (`inner`) with a student's losses (`outer`)."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  pip may not have checked; older versions can parse this file
    _FOUND = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(
        "advdistill needs Python 3.11 or newer; this is Python " + _FOUND + ".",
        name=__name__,  # with a name, `python -m advdistill` reports this in one line
    )

from ._internal.lazy import lazy  # noqa: E402  after the check of Python's version
from .methods import CLASSES  # noqa: E402  as above

_PLACES = {place.rpartition(".")[2]: place for place in (
    "methods.Batch", "methods.Method", "methods.Term", *(f"methods.{kind}" for kind in CLASSES),
    "attacks.PGD", "threat.L2", "threat.Linf", "distiller.Distiller", "recipe.Data", "recipe.Recipe", "recipe.Schedule",
    "optimizers.SGD", "optimizers.AdamW", "optimizers.TorchOptimizer", "run.Run", "train.distill",
    "train.awp.AWP", "train.average.EMA", "train.average.SWA", "train.statistics.update_bn",
    "evaluation.evaluate", "results.result.Result",
    "attacks", "data", "losses", "methods", "models", "recipes",
)}  # fmt: skip

__all__ = [*_PLACES]  # noqa: PLE0604  all of them are strings
__version__ = "0.1.0"
__getattr__, __dir__ = lazy(__name__, _PLACES)
