"""Export a network to a file (ONNX, safetensors, torch.export), compare it with the original, attack the file."""

from .artefact import KINDS, Artefact, Parity, build, open_file, write
from .result import NOT_MEASURED, ExportedResult

__all__ = ["KINDS", "NOT_MEASURED", "Artefact", "ExportedResult", "Parity", "build", "open_file", "write"]
