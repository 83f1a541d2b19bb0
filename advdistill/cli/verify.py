"""`advdistill verify`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .console import say, tell

__all__ = ["Verify"]


@dataclass(frozen=True)
class Verify:
    """Check a published result: is every counted break inside eps and really misclassified? Exit code 1 if not."""

    result: Positional[Path]
    """A run folder or a result file, with its verdicts and images next to it (`evaluate --keep-images`)."""
    model: Positional[str | None] = None
    """The evaluated model; the run's unless given."""
    data: str | None = None
    """Dataset; the result's unless given."""
    folder: str | None = None
    """Folder of the dataset's files, if not in the cache."""
    sample: int = 64
    """Number of images counted as robust that are attacked again, by other attacks."""

    def __call__(self) -> int:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from ..evaluation.verification import verify
        from ..results.files import ResultFiles
        from ..results.result import Result
        from ..run import Run
        from .target import Target, device

        run = Run(self.result) if self.result.is_dir() else None
        files = ResultFiles(run.result if run else self.result)
        claimed = Result.load(files.result)
        if self.model is None and run is None:
            raise ValueError(
                f"{self.result} is in no run's folder, so name the model: advdistill verify {self.result} MODEL."
            )
        data = self.data or claimed.data.rpartition("/")[0]
        target = Target(self.model or str(self.result), data, self.folder, None, None)
        if not files.verdicts.exists():
            raise FileNotFoundError(
                f"{files.verdicts} is missing; without the verdict on each image nothing can be checked."
            )
        try:
            verdicts = load_file(files.verdicts)
        except SafetensorError as error:
            raise ValueError(f"{files.verdicts} is damaged ({error}). Download it again.") from None
        found = verify(
            target.network, target.split, claimed, verdicts, files.images, sample=self.sample, device=device(),
            report=say,
        )  # fmt: skip
        for line in found.lines():
            tell(line)
        return 0 if found.ok else 1
