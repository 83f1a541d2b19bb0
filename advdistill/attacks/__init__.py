from .pgd import PGD as PGD
