"""A file as a module: what onnxruntime, or torch, computes from it."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .._internal.optional import require

__all__ = ["Opened", "session", "torch_program"]


class Opened(nn.Module):
    """Images `[B, C, H, W]` in [0, 1] to logits `[B, K]` on the CPU, whatever the images' device.

    A copy of it is the file itself, since evaluation judges copies.
    """

    def __init__(self, run: Callable[[Tensor], Tensor]):
        super().__init__()
        self.run = run

    def __deepcopy__(self, memo: dict[int, object]) -> "Opened":
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x.cpu()).to(x.device)


def session(file: Path | bytes, threads: int | None = None) -> Opened:
    """An ONNX file in onnxruntime on the CPU; its logits have no gradient.

    Args:
        threads: `None` for as many as torch takes.
    """
    runtime = require("onnxruntime", "An export", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or torch.get_num_threads(), 3
    given = file if isinstance(file, bytes) else str(file)
    opened = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    (images,), (logits,) = opened.get_inputs(), opened.get_outputs()
    return Opened(
        lambda x: torch.from_numpy(opened.run([logits.name], {images.name: x.detach().contiguous().numpy()})[0])
    )


def torch_program(file: Path) -> Opened:
    """A file of torch.export, which this package has written itself."""
    program = torch.export.load(file).module()
    return Opened(lambda x: program(x))  # kept out of the modules, as it refuses to be asked for eval mode
