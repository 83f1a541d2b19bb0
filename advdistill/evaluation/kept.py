"""The adversarial images that an evaluation counts on, for anyone to look at again."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ..files import write_atomic

__all__ = ["Images"]


class Images:
    """A folder with a file `ATTACK.START.safetensors` for each batch: x' and the images' places in the split.

    Args:
        folder: made with the first file.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, attack: str, start: int, x_adv: Tensor, broken: Tensor) -> None:
        """Keep the x' `[B, C, H, W]` of the images marked in `[B]`, of the batch that begins at `start`."""
        _own(self.folder).mkdir(parents=True, exist_ok=True)
        tensors = {"index": start + broken.nonzero()[:, 0].cpu(), "x_adv": x_adv[broken].cpu().contiguous()}
        file = self.folder / f"{attack}.{start:06d}.safetensors"
        write_atomic(file, lambda temporary: save_file(tensors, temporary))

    def replace(self, folder: Path) -> None:
        """Let the files of this folder take the place of another's of the same attacks, and remove this one."""
        if not self.folder.exists():
            return
        _own(folder).mkdir(exist_ok=True)
        fresh = sorted(self.folder.iterdir())
        for attack in {file.name.split(".")[0] for file in fresh}:
            for old in folder.glob(f"{attack}.*.safetensors"):
                old.unlink()
        for file in fresh:
            file.rename(folder / file.name)
        self.folder.rmdir()


def _own(folder: Path) -> Path:
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link; images are not written through it, take it away.")
    return folder
