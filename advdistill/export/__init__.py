"""A network as a file (ONNX, safetensors, torch.export), compared with the original and attacked as that file."""

from .artefact import KINDS, Artefact, Parity, build, open_file, write
from .result import NOT_MEASURED, ExportedResult

__all__ = ["KINDS", "NOT_MEASURED", "Artefact", "ExportedResult", "Parity", "build", "open_file", "write"]
