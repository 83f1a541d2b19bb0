"""The files of a result: `result.json`, and the files next to it whose names begin with its name."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors.numpy import load_file, save_file

from .._internal.files import write_atomic
from .result import Result

__all__ = ["AdversarialImages", "ResultFiles", "remove_unfinished", "unfinished_files"]

Kind = TypeVar("Kind", bound=Result)


class ResultFiles:
    """The paths of all files of one result.

    Attributes:
        verdicts: by attack, uint8 `[n]`: 1 still classified correctly, 0 broken.
        images: a folder with the adversarial images of the counted breaks.
        masking, inspection: the results of `--masking` and `--inspect`.
        metrics: one row per epoch of the training, where the result is not in a run's folder.
        unfinished, unfinished_images: of an interrupted evaluation; a later call continues it.
    """

    def __init__(self, result: Path):
        self.result = result
        self.verdicts, self.images = result.with_suffix(".verdicts.safetensors"), result.with_suffix(".adv")
        self.masking = result.with_suffix(".masking.json")
        self.inspection = result.with_suffix(".inspection.safetensors")
        self.metrics = result.with_suffix(".metrics.jsonl")
        self.unfinished = result.with_suffix(".unfinished.safetensors")
        self.unfinished_images = result.with_suffix(".unfinished.adv")

    def store(self, result: Kind) -> Kind:
        """Write a result and its verdicts; an earlier result is merged if model, data and settings agree, else renamed.

        Returns:
            The result as written: with the earlier measurements, if the two were merged.
        """
        if self.result.exists():
            earlier = Result.load(self.result)
            joined = result.joined(earlier)
            if joined is None:
                self.set_aside(earlier.date)
            result = joined or result
        known = (load_file(self.verdicts) if self.verdicts.exists() else {}) | load_file(self.unfinished)
        measured = {m.attack for m in result.measurements}
        known = {name: found for name, found in known.items() if name.split(".")[0] in measured}
        described = {"fingerprint": result.fingerprint, "threat": result.threat, "seed": str(result.seed)}
        write_atomic(self.verdicts, lambda temporary: save_file(known, temporary, described))
        AdversarialImages(self.unfinished_images).replace(self.images)
        result.save(self.result)
        remove_unfinished(self.unfinished)
        return result

    def set_aside(self, date: str) -> None:
        """Rename the result and all its files: the date is added to the names."""
        stem, dated = self.result.stem, f"{self.result.stem}-{date.replace(':', '')}"
        for file in filter(Path.exists, self._finished()):
            file.rename(file.with_name(f"{dated}{file.name[len(stem) :]}"))

    def _finished(self) -> Iterator[Path]:
        yield from (self.result, self.verdicts, self.images, self.masking, self.inspection)


class AdversarialImages:
    """A folder with a file `ATTACK.START.safetensors` for each batch: x' and the indices of the images in the split.

    Args:
        folder: created with the first file.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, attack: str, start: int, x_adv: np.ndarray, broken: np.ndarray) -> None:
        """Save the x' `[B, C, H, W]` of the images that are True in `[B]`, of the batch that begins at index `start`.

        Raises:
            ValueError: the folder is a link.
        """
        _no_link(self.folder).mkdir(parents=True, exist_ok=True)
        tensors = {"index": start + np.flatnonzero(broken), "x_adv": np.ascontiguousarray(x_adv[broken])}
        file = self.folder / f"{attack}.{start:06d}.safetensors"
        write_atomic(file, lambda temporary: save_file(tensors, temporary))

    def set_aside(self) -> None:
        """Rename the folder: `earlier-` comes before its name; one of that name is removed."""
        if self.folder.exists():
            renamed = self.folder.with_name(f"earlier-{self.folder.name}")
            if renamed.exists():
                shutil.rmtree(renamed)
            _no_link(self.folder).rename(renamed)

    def replace(self, folder: Path) -> None:
        """Move the files of this folder to another, replacing those of the same attacks, and remove this folder."""
        if not self.folder.exists():
            return
        _no_link(folder).mkdir(exist_ok=True)
        fresh = sorted(self.folder.iterdir())
        for attack in {file.name.split(".")[0] for file in fresh}:
            for old in folder.glob(f"{attack}.*.safetensors"):
                old.unlink()
        for file in fresh:
            file.rename(folder / file.name)
        self.folder.rmdir()


def unfinished_files(path: Path | None) -> list[Path]:
    """The verdicts of an unfinished evaluation: the file of this process, and those of the other processes."""
    if path is None or not path.parent.is_dir():
        return []
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name))


def remove_unfinished(path: Path) -> None:
    for file in unfinished_files(path):
        file.unlink(missing_ok=True)


def _no_link(folder: Path) -> Path:
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link, and images are not written through links; delete the link.")
    return folder
