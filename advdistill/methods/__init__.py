"""The methods: `build("adaad+igdm")`, or `build("my_module:MyMethod")` for your own method.

`REGISTRY` is the only list of methods. All other lists are derived from it: `make derive` rewrites committed ones.
"""

from .._internal.lazy import lazy

REGISTRY = {  # name: module and class, in the order of the documentation
    "standard": "standard.Standard",
    "pgd_at": "pgd_at.PGDAT",
    "trades": "trades.TRADES",
    "mart": "mart.MART",
    "nuat": "nuat.NuAT",
    "liet": "liet.LIET",
    "adr": "adr.ADR",
    "lbgat": "lbgat.LBGAT",
    "adagat": "lbgat.AdaGAT",
    "hat": "hat.HAT",
    "ard": "ard.ARD",
    "akd2": "iad.AKD2",
    "iad": "iad.IAD",
    "iad2": "iad.IADII",
    "rslad": "rslad.RSLAD",
    "mtard": "mtard.MTARD",
    "bmtard": "mtard.BMTARD",
    "adaad": "adaad.AdaAD",
    "adaiad": "iad.AdaIAD",
    "dgad": "dgad.DGAD",
    "saad": "saad.SAAD",
    "fair_ard": "fair.FairARD",
    "fair_iad": "fair.FairIAD",
    "fair_rslad": "fair.FairRSLAD",
    "fair_mtard": "fair.FairMTARD",
    "absld": "fair.ABSLD",
    "mtf_ard": "mtf_ard.MTFARD",
    "ciard": "mtard.CIARD",
    "peeraid": "peeraid.PeerAiD",
    "igdm": "igdm.IGDM",
}

CLASSES = {place.rpartition(".")[2]: place for place in REGISTRY.values()}
_PLACES = {place.rpartition(".")[2]: place for place in (
    "batch.Batch", "method.Method", "method.Sum", "method.Term", "registry.METHODS", "registry.build",
    "registry.describe", "registry.from_config", "registry.to_config",
)} | CLASSES  # fmt: skip

__all__ = [*_PLACES]
__getattr__, __dir__ = lazy(__name__, _PLACES)
