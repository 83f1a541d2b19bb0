"""Measure, and measure again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Evaluate:
    """Measure accuracy on the test split, clean and under attack."""

    model: Positional[str]
    """A run folder, or a checkpoint; see `advdistill list models`."""
    suite: str = "paper"
    """quick, paper, autoattack, blackbox or full; or attacks separated by commas."""
    data: str | None = None
    """Dataset; a run's own unless given."""
    folder: str | None = None
    """Where its files are, if not in the cache."""
    size: int | None = None
    """Side in pixels to which your own images are resized, where they differ; a run's own unless given."""
    eps: str | None = None
    """Radius of the threat model, e.g. 8/255; a run's own unless given."""
    norm: Literal["linf", "l2"] | None = None
    """Threat model; a run's own unless given."""
    surrogate: str | None = None
    """Model whose adversarial images the transfer- attacks try; a run's own teacher unless given."""
    n: int | None = None
    """Only the first n images of the test split."""
    batch_size: int = 256
    accelerated: bool = False
    """Attacks search in bf16 (folded fp32 where that is not native), the fp32 model judges; claims take the default."""
    keep_images: bool = False
    """Keep the adversarial image of each counted break, for `advdistill verify`."""
    masking: bool = False
    """Also look for gradient masking, on 200 images: signs that only the attack failed."""
    inspect: bool = False
    """Also make what `advdistill report` shows beyond counts: a curve, pictures, gradients; on 200 images."""
    seed: int = 0
    devices: int | str = 1
    """Processes that share the images, one to a device."""
    out: Path | None = None
    """Where result.json goes; into the run unless given. Interrupted, the same command continues."""

    def __call__(self) -> int:
        from ..commands.evaluation import evaluate

        return evaluate(**vars(self))


@dataclass(frozen=True)
class Verify:
    """Look at a published result again: is every counted break inside eps and really wrong? Exit code 1 if not."""

    result: Positional[Path]
    """A run folder or a result file, beside which its verdicts and images lie (`evaluate --keep-images`)."""
    model: Positional[str | None] = None
    """The model it is about; a run's own unless given."""
    data: str | None = None
    """Dataset; the result's unless given."""
    folder: str | None = None
    """Where its files are, if not in the cache."""
    sample: int = 64
    """How many images that stand are attacked again, by other means."""

    def __call__(self) -> int:
        from ..commands.verification import verify

        return verify(**vars(self))
