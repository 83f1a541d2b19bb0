"""The file that ships: a network as ONNX or torch.export, compared with the original and attacked as the file it is."""

from .artefact import KINDS, Artefact, build, open_file
from .parity import Parity
from .shipped import NOT_MEASURED, Shipped
from .writing import write

__all__ = ["KINDS", "NOT_MEASURED", "Artefact", "Parity", "Shipped", "build", "open_file", "write"]
