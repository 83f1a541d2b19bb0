"""Attacks: the protocol, PGD, your own attacks and other libraries' attacks; named attacks are in `suites`."""

from .adapters import foolbox, torchattacks
from .base import Attack
from .pgd import PGD
from .training import CustomAttack

__all__ = ["PGD", "Attack", "CustomAttack", "foolbox", "torchattacks"]
