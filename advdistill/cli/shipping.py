"""Make a file that ships, and share a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Export:
    """Write a network as a file for a device, compare it with the original, and attack that very file."""

    model: Positional[str]
    """A run folder, or a checkpoint."""
    to: Literal["onnx", "onnx-fp16", "onnx-int8", "safetensors", "torch-export"] = "onnx"
    """The kind of file; int8 takes its scales from 512 training images."""
    out: Path | None = None
    """The file; model.onnx, model.int8.onnx and so on in the run's folder, or beside the checkpoint, unless given."""
    data: str | None = None
    """Dataset; a run's own unless given."""
    folder: str | None = None
    """Where its files are, if not in the cache."""
    eps: str | None = None
    """Radius of the threat model, e.g. 8/255; a run's own unless given."""
    norm: Literal["linf", "l2"] | None = None
    """Threat model; a run's own unless given."""
    n: int = 1000
    """How many test images the file is attacked on, all of them if there are fewer."""
    queries: int = 200
    """Of the Square attack for each image, asked of the file itself; 0 leaves it out."""
    evaluate: bool = True
    """Without, the file's robust accuracy stays "not measured"."""
    batch_size: int = 128
    seed: int = 0

    def __call__(self) -> int:
        from ..commands.shipping import export

        return export(**vars(self))


@dataclass(frozen=True)
class Push:
    """Make a Hugging Face model folder of a run: weights, configuration, figures, and a card that claims no more."""

    model: Positional[str]
    """A run folder, or a checkpoint."""
    to: str
    """A folder to write, or hf:OWNER/NAME to upload it as."""
    result: Path | None = None
    """result.json of `advdistill evaluate`; a run's own unless given."""

    def __call__(self) -> int:
        from ..commands.sharing import push

        return push(**vars(self))
