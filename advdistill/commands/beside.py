"""The files of a result: `result.json`, and beside it whatever is named after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file

from ..evaluation.kept import Images
from ..evaluation.verdicts import discard
from ..files import write_atomic
from ..report.compare import VERDICTS
from ..result import Result

__all__ = ["Beside"]

Kind = TypeVar("Kind", bound=Result)


class Beside:
    """Where everything about one result lies.

    Attributes:
        verdicts, images: on each image; the adversarial images of the counted breaks.
        masking, inspection: what `--masking` and `--inspect` found.
        unfinished, unfinished_images: of an evaluation that goes on.
    """

    def __init__(self, result: Path):
        self.result = result
        self.verdicts, self.images = result.with_suffix(VERDICTS), result.with_suffix(".adv")
        self.masking = result.with_suffix(".masking.json")
        self.inspection = result.with_suffix(".inspection.safetensors")
        self.unfinished = result.with_suffix(".unfinished.safetensors")
        self.unfinished_images = result.with_suffix(".unfinished.adv")

    def store(self, result: Kind) -> Kind:
        """Write a result and its verdicts; earlier ones in their place are joined if measured alike, else renamed."""
        if self.result.exists():
            earlier = Result.load(self.result)
            joined = result.joined(earlier)
            if joined is None:
                self._step_aside(earlier.date.replace(":", ""))
            result = joined or result
        known = (load_file(self.verdicts) if self.verdicts.exists() else {}) | load_file(self.unfinished)
        described = {"fingerprint": result.fingerprint, "threat": result.threat, "seed": str(result.seed)}
        write_atomic(self.verdicts, lambda temporary: save_file(known, temporary, described))
        Images(self.unfinished_images).replace(self.images)
        result.save(self.result)
        discard(self.unfinished)
        return result

    def _step_aside(self, date: str) -> None:
        stem = self.result.stem
        for file in filter(Path.exists, self._finished()):
            file.rename(file.with_name(f"{stem}-{date}{file.name[len(stem) :]}"))

    def _finished(self) -> Iterator[Path]:
        yield from (self.result, self.verdicts, self.images, self.masking, self.inspection)
