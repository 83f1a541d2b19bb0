"""`advdistill verify`."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..evaluation.verification import verify as look_again
from ..results.files import ResultFiles
from ..results.result import Result
from ..run import Run
from .console import CONSOLE, say
from .subject import Subject, device

__all__ = ["verify"]


def verify(result: Path, model: str | None, data: str | None, folder: str | None, sample: int) -> int:
    run = Run(result) if result.is_dir() else None
    files = ResultFiles(run.result if run else result)
    claimed = Result.load(files.result)
    if model is None and run is None:
        raise ValueError(f"Which model is {result} about? Give it: advdistill verify {result} MODEL.")
    subject = Subject(model or str(result), data or claimed.data.rpartition("/")[0], folder, None, None)
    if not files.verdicts.exists():
        raise FileNotFoundError(f"{files.verdicts} is missing; without verdicts on each image nothing can be checked.")
    try:
        verdicts = load_file(files.verdicts)
    except SafetensorError as error:
        raise ValueError(f"{files.verdicts} is damaged ({error}). Get it again.") from None
    found = look_again(
        subject.network, subject.split, claimed, verdicts, files.images, sample=sample, device=device(), report=say
    )
    for line in found.lines():
        CONSOLE.print(line, markup=False)
    return 0 if found.ok else 1
