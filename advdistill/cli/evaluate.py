"""`advdistill evaluate`."""

import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from .._internal.files import make_folder
from .._internal.malloc import keep_freed_memory
from .console import is_first, not_measured_here, say, show, typed
from .early import check_data, check_earlier, check_eps, check_model, check_run
from .names import check_attacks

if TYPE_CHECKING:
    from torch import device as Device
    from torch import nn

    from ..attacks.base import Attack
    from ..results.files import ResultFiles
    from .target import Target

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Measure accuracy on the test split, clean and under attack."""

    model: Positional[str]
    """A run folder, or a checkpoint; see `advdistill list models`."""
    suite: str = "paper"
    """quick, paper, autoattack, blackbox or full; or attacks separated by commas."""
    attacks: str | None = None
    """Attacks separated by commas, in place of the suite; your own as python:my_module:my_attack."""
    data: str | None = None
    """Dataset; if omitted, the run's."""
    folder: str | None = None
    """Folder of the dataset's files, if not in the cache."""
    size: int | None = None
    """Side in pixels to which your own images are resized, needed if their sizes differ; if omitted, the run's."""
    eps: str | None = None
    """Radius of the threat model, e.g. 8/255; if omitted, the run's."""
    norm: Literal["linf", "l2"] | None = None
    """Threat model; if omitted, the run's."""
    surrogate: str | None = None
    """Model on which the transfer- attacks compute adversarial images; if omitted, the run's teacher."""
    n: int | None = None
    """Only the first n images of the test split."""
    batch_size: int = 256
    """Images between two saves of the verdicts (right or broken); slow attacks save more often. Changes no figure."""
    accelerated: bool = False
    """Attack a bf16 copy (folded fp32 if bf16 is not native); the fp32 model still classifies. Not for claims."""
    keep_images: bool = False
    """Save the adversarial image of each image that an attack broke, for `advdistill verify`."""
    masking: bool = False
    """Also check for gradient masking, on 200 images."""
    inspect: bool = False
    """Also compute what `advdistill report` shows besides accuracies: curve, pictures, gradients; on 200 images."""
    seed: int = 0
    """Seed of the attacks."""
    devices: int | str = 1
    """Processes that share the images, one per device."""
    out: Path | None = None
    """Result file; if omitted, RUN/result.json. After an interruption the same command resumes."""

    def __call__(self) -> int:
        check_attacks(self.attacks or self.suite)
        check_eps(self.eps, self.norm)
        if self.data is not None:
            check_data(self.data)
        check_model(self.model)
        if Path(self.model).is_dir():
            check_run(self.model)
        check_earlier(self.out or Path(self.model, "result.json"))
        keep_freed_memory()

        from ..attacks.suites import attacks
        from ..results.files import ResultFiles
        from .target import Target

        target = Target(self.model, self.data, self.folder, self.norm, self.eps, self.size)
        chosen = attacks(self.attacks or self.suite, target.threat)
        transferred = any(attack.transferred for attack in chosen)
        other = target.other(self.surrogate) if self.surrogate or transferred or self.inspect else None
        out = self.out or (target.run.result if target.run else None)
        files = ResultFiles(out) if out else None
        if self.keep_images and not files:
            raise ValueError("--keep-images writes next to the result: give --out, e.g. --out result.json.")
        if out:
            make_folder(out.parent)
        with files.writing() if files and _first_of_all() else nullcontext():
            return self._measure(target, chosen, other, files)

    def _measure(
        self, target: "Target", chosen: "list[Attack]", other: "nn.Module | None", files: "ResultFiles | None"
    ) -> int:
        from ..evaluation import evaluate
        from ..run import stale_result_message
        from .target import look_closer

        device, shared = _processes(self.devices)
        transferred = any(attack.transferred for attack in chosen)
        try:
            result = evaluate(
                target.network, target.split, target.threat, attacks=chosen,
                n=self.n, batch_size=self.batch_size, seed=self.seed, name=target.name, accelerated=self.accelerated,
                device=device, surrogate=other if transferred else None, keep=files.unfinished if files else None,
                keep_images=files.unfinished_images if files and self.keep_images else None,
                shared=shared, report=say if is_first() else None,
            )  # fmt: skip
        except KeyboardInterrupt:
            if files:
                say(f"per-image results so far are in {files.unfinished}; the same command continues")
            else:
                say("nothing was saved for lack of --out; the same command starts afresh")
            raise
        result = replace(result, chosen=target.chosen(), command=typed())
        if files and is_first():
            measured, result = {m.attack for m in result.measurements}, files.store(result)
            say(f"written to {files.result}")
            measured |= files.measured_by_this_user(result)
            if others := [m.attack for m in result.measurements if m.attack not in measured]:
                say(not_measured_here(files.result, others))
            result = replace(result, measurements=tuple(m for m in result.measurements if m.attack in measured))
            if target.run and (said := stale_result_message(files.result)):
                say(said)
        show([result])
        if is_first():
            wanted = {"masking": self.masking, "inspection": self.inspect}
            look_closer(target, other, files, device, n=self.n, seed=self.seed, **wanted)
        return 0


def _first_of_all() -> bool:
    """Return whether this is the first process, by environment variables: the process group may not exist yet."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _processes(devices: int | str) -> tuple["Device | str", bool]:
    """Start the other processes; return this process's device, and whether several processes share the work."""
    import torch

    from .target import device

    if torch.distributed.is_initialized():
        return device(), torch.distributed.get_world_size() > 1
    if str(devices) == "1" and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return device(), False
    from ..train.setup import fabric_on

    fabric = fabric_on("auto", devices, strategy="ddp")
    fabric.launch()
    return fabric.device, fabric.world_size > 1
