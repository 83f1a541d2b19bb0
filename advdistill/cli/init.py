"""From one's own images to recipes."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Init:
    """Look at your own images and write recipes for them: a robust teacher, and a student distilled from it."""

    data: Positional[str]
    """A folder of images, .npz, .csv, .tsv, .parquet, hf:OWNER/NAME, or one of `advdistill list datasets`."""
    out: Path | None = None
    """The student's recipe, a new .yaml; the teacher's goes beside it. By default named after the data."""
    size: int | None = None
    """Side in pixels to which the images are resized; chosen where they differ in size."""
    teacher: str | None = None
    """A robust teacher you have: a run folder, or file:PATH. No recipe for one is written then."""

    def __call__(self) -> int:
        from ..commands.init import init

        return init(**vars(self))
