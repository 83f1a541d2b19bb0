"""Adversarial robust distillation: an attack climbs `inner`, a student descends `outer`, and a method is the pair."""

import importlib
import sys

if sys.version_info < (3, 11):  # noqa: UP036  where pip did not ask; older ones can read this file
    _FOUND = ".".join(map(str, sys.version_info[:3]))
    raise ImportError(
        "advdistill needs Python 3.11 or newer; this is Python " + _FOUND + ".",
        name=__name__,  # with it `python -m advdistill` says so in one line
    )

_HOME = {
    "methods": [
        *("Batch", "Method", "Term", "Standard", "PGDAT", "TRADES", "MART"),
        *("ARD", "AKD2", "IAD", "IADII", "RSLAD", "MTARD", "BMTARD", "AdaAD", "AdaIAD", "DGAD", "SAAD", "IGDM"),
        *("FairARD", "FairIAD", "FairRSLAD", "FairMTARD", "ABSLD", "CIARD", "PeerAiD"),
    ],
    "attacks": ["PGD"],
    "threat": ["L2", "Linf"],
    "distiller": ["Distiller"],
    "recipe": ["Data", "Recipe", "SGD", "Schedule"],
    "run": ["Run"],
    "train": ["distill"],
    "evaluation": ["evaluate"],
    "results.result": ["Result"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [*_MODULE_OF, "data", "losses", "methods", "models", "recipes"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """Import on first use: `import advdistill` and `advdistill --help` do not wait for torch."""
    if name in __all__:
        importlib.import_module("._internal.versions", __name__).check_torch()
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
