"""Evaluation: a model, a split and a suite of attacks in, a `Result` out."""

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..attacks.autoattack import Report
from ..attacks.suites import ATTACKS, SUITES, attacks
from ..data import Split
from ..results.files import AdversarialImages
from ..results.result import Result
from ..threat import Linf, Threat
from .curve import robust_curve
from .gradients import Alignment, gradient_alignment
from .measure import measure
from .networks import ITSELF, Judged, precision, searches
from .verdicts import Verdicts, digest

__all__ = ["ATTACKS", "SUITES", "Alignment", "evaluate", "gradient_alignment", "robust_curve"]


def evaluate(
    model: nn.Module,
    split: Split,
    threat: Threat | None = None,
    suite: str = "paper",
    *,
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    name: str | None = None,
    accelerated: bool = False,
    surrogate: nn.Module | None = None,
    keep: Path | str | None = None,
    keep_images: Path | str | None = None,
    shared: bool = False,
    report: Report | None = None,
) -> Result:
    """Measure a model's accuracy, clean and under attack, in fp32 and eval mode; the model stays as it is.

    Args:
        model: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        threat: `None` is Linf 8/255.
        suite: one of `SUITES`, or names of `ATTACKS` with commas between.
        n: the first n images only.
        name: of the model in tables; `None` is its class.
        accelerated: let every attack search on a folded copy, in bf16 where `device` has it; the verdict on x' stays
            the fp32 model's. Claims take the default.
        surrogate: another model for the same images; attacks called `transfer-` take their x' from it.
        keep: a .safetensors file that has the verdict on each image, written after every batch; an evaluation that
            was interrupted there is continued.
        keep_images: a folder for the x' of every image that was right and was broken, a file for each batch.
        shared: the processes of torch.distributed share the batches, and all return the same.
        report: receives a line after each batch and attack.

    Raises:
        ValueError: the model or the surrogate does not fit the split, an unknown suite, a `transfer-` attack without
            a surrogate, n larger than the split, or `keep` holds another evaluation; nothing was attacked.
        ImportError: the suite needs pyautoattack, which is missing.
    """
    threat = threat or Linf("8/255")
    chosen, used = attacks(suite, threat), split.first(n) if n is not None else split
    judged = Judged(model, split, device)
    searched = searches(chosen, judged, surrogate, split, device, accelerated)
    weights, fingerprint = digest(judged.network), split.fingerprint()
    setting: dict[str, object] = {
        "weights": weights, "fingerprint": fingerprint, "images": len(used), "threat": threat, "seed": seed,
        "batch_size": batch_size, "searched": precision(device) if accelerated else None,
        "surrogate": None if surrogate is None else digest(surrogate),
    }  # fmt: skip
    processes = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
    described = {name: str(value) for name, value in setting.items()}
    verdicts = Verdicts(len(used), described, Path(keep) if keep else None, processes[0])
    options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "device": device, "report": report}
    options |= {"processes": processes, "images": AdversarialImages(Path(keep_images)) if keep_images else None}
    return Result(
        model=name or type(model).__name__,
        data=split.name,
        fingerprint=fingerprint,
        weights=weights,
        threat=str(threat),
        eps=threat.eps,
        seed=seed,
        measurements=tuple(
            measure(judged, used, attack, verdicts, searched=searched.get(attack.name, ITSELF), **options)
            for attack in chosen
        ),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions("advdistill", "torch", "pyautoattack"),
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: found for package in packages if (found := _version(package))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
