"""The public names, as type checkers read them; derived: `make derive`. `__init__.py` imports on first use."""

from .adaad import AdaAD
from .adr import ADR
from .ard import ARD
from .batch import Batch
from .dgad import DGAD
from .fair import ABSLD, FairARD, FairIAD, FairMTARD, FairRSLAD
from .hat import HAT
from .iad import AKD2, IAD, IADII, AdaIAD
from .igdm import IGDM
from .lbgat import LBGAT, AdaGAT
from .liet import LIET
from .mart import MART
from .method import Method, Sum, Term
from .mtard import BMTARD, CIARD, MTARD
from .mtf_ard import MTFARD
from .nuat import NuAT
from .peeraid import PeerAiD
from .pgd_at import PGDAT
from .registry import METHODS, build, describe, from_config, to_config
from .rslad import RSLAD
from .saad import SAAD
from .standard import Standard
from .trades import TRADES

__all__ = [
    "ABSLD", "ADR", "AKD2", "ARD", "AdaAD", "AdaGAT", "AdaIAD", "BMTARD", "Batch", "CIARD", "DGAD", "FairARD",
    "FairIAD", "FairMTARD", "FairRSLAD", "HAT", "IAD", "IADII", "IGDM", "LBGAT", "LIET", "MART", "METHODS", "MTARD",
    "MTFARD", "Method", "NuAT", "PGDAT", "PeerAiD", "RSLAD", "SAAD", "Standard", "Sum", "TRADES", "Term", "build",
    "describe", "from_config", "to_config",
]
REGISTRY: dict[str, str]
CLASSES: dict[str, str]
_PLACES: dict[str, str]
