"""`advdistill verify`."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .._internal.reading import ordinary
from .console import say, tell
from .early import check_model, check_run

__all__ = ["Verify"]


@dataclass(frozen=True)
class Verify:
    """Check a published result: verdicts, images, attacks. Exit code 1 if something is wrong or an attack too weak."""

    result: Positional[Path]
    """A run folder or a result file, with its verdicts and images next to it (`evaluate --keep-images`)."""
    model: Positional[str | None] = None
    """The evaluated model; if omitted, the run's."""
    data: str | None = None
    """Dataset; if omitted, the result's."""
    folder: str | None = None
    """Folder of the dataset's files, if not in the cache."""
    sample: int = 64
    """Number of images to attack again by each attack of the result, and of robust ones to attack by a stronger one."""
    bound: float = 0.25
    """Largest share of the robust images that the stronger attack may break; more refutes the result."""
    draw: int | None = None
    """Seed that chooses these images; if omitted, a fresh one is drawn and printed, so nobody can know it before."""

    def __call__(self) -> int:
        from ..results.files import ResultFiles
        from ..results.result import Result

        of_run = self.result.is_dir()
        files = ResultFiles(self.result / "result.json" if of_run else self.result)
        claimed = Result.load(files.result)
        if self.model is not None:
            check_model(self.model)
        elif of_run:
            check_run(self.result)
        else:
            raise ValueError(
                f"{self.result} is in no run's folder, so name the model: advdistill verify {self.result} MODEL."
            )

        from safetensors import SafetensorError, safe_open

        from ..evaluation.verification import verify
        from .target import Target, device

        data = self.data or claimed.data.rpartition("/")[0]
        target = Target(self.model or str(self.result), data, self.folder, None, None)
        if not files.verdicts.exists():
            raise FileNotFoundError(
                f"{files.verdicts} is missing; without the verdict on each image nothing can be checked."
            )
        try:
            with safe_open(ordinary(files.verdicts), "pt") as opened:
                facts, verdicts = opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{files.verdicts} is damaged ({error}). Download it again.") from None
        draw = secrets.randbelow(2**31) if self.draw is None else self.draw
        say(f"images to attack again are drawn with --draw {draw}")
        found = verify(
            target.network, target.split, claimed, verdicts, files.images,
            facts=facts, sample=self.sample, bound=self.bound, draw=draw, device=device(), report=say,
        )  # fmt: skip
        for line in found.lines():
            tell(line)
        return 0 if found.ok and found.supported else 1
