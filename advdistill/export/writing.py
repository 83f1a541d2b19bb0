"""A file is compared with its network before it appears under its name."""

import tempfile
from pathlib import Path

from torch import Tensor, nn

from .._internal.files import write_atomic
from .artefact import KINDS, Artefact, open_file
from .parity import Parity, compare

__all__ = ["write"]


def write(artefact: Artefact, known: dict[str, str], path: Path, network: nn.Module, images: Tensor) -> Parity:
    """Write an artefact with metadata, once its bytes, opened again, have been seen to compute what the network does.

    Args:
        known: metadata by name.
        network: what it was made from, in eval mode.
        images: `[N, C, H, W]` in [0, 1].

    Raises:
        ValueError: they do not; nothing was written.
    """
    kind, content = KINDS[artefact.kind], artefact.pack(known)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, f"trial{kind.ending}")
        trial.write_bytes(content)
        parity = compare(network, open_file(artefact.kind, trial), images)
    what = f"{path.name} would not compute what its network does, and was not written"
    parity.check(what, kind.limit, kind.agreement)
    write_atomic(path, lambda temporary: temporary.write_bytes(content))
    return parity
