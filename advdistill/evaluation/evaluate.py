"""`evaluate`: a model's accuracy, clean and under attack, as a `Result`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from ..attacks.base import Attack, Report
from ..attacks.suites import ATTACKS
from ..attacks.suites import attacks as named
from ..data import Split
from ..results.files import AdversarialImages
from ..results.result import Result
from ..threat import Linf, Threat
from .context import Context, silent
from .measure import measure
from .networks import EvaluatedModel, attacked_networks, precision
from .verdicts import Verdicts, digest

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    split: Split,
    threat: Threat | None = None,
    suite: str = "paper",
    *,
    attacks: Sequence[str | Attack] | None = None,
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
        attacks: such names, and attacks of your own (`advdistill.attacks.base.Attack`), in place of `suite`.
        n: the first n images only.
        name: of the model in tables; `None` is its class.
        accelerated: let every attack search on a folded copy, in bf16 where `device` has it; what counts is still the
            fp32 model's prediction at x'. Claims take the default.
        surrogate: another model for the same images; attacks called `transfer-` take their x' from it.
        keep: a .safetensors file for the verdict on each image, written after every batch; an evaluation that was
            interrupted is resumed from it.
        keep_images: a folder for the x' of every image that was classified correctly and was broken, a file for each
            batch.
        shared: the processes of torch.distributed share the batches, and all return the same.
        report: receives a line after each batch and attack.

    Returns:
        One measurement for each attack, in their order; accuracies are fractions.

    Raises:
        ValueError: the model or the surrogate does not fit the split, an unknown suite, a `transfer-` attack without
            a surrogate, n larger than the split, two attacks of one name, or `keep` is of another evaluation; nothing
            was attacked.
        TypeError: something in `attacks` is neither a name nor an attack.
        ImportError: an attack needs pyautoattack, which is missing.

    Example:
        >>> import advdistill as ad
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> result = ad.evaluate(model, test, ad.Linf("8/255"), "quick", n=20)
        >>> [m.attack for m in result.measurements], result.threat, result["pgd-20"].n
        (['clean', 'fgsm', 'pgd-20'], 'Linf 8/255', 20)
    """
    threat = threat or Linf("8/255")
    chosen, used = named(suite if attacks is None else attacks, threat), split.first(n) if n is not None else split
    evaluated = EvaluatedModel(model, split, device)
    networks = attacked_networks(chosen, evaluated, surrogate, split, device, accelerated)
    weights, fingerprint = digest(evaluated.network), split.fingerprint()
    processes = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
    context = Context(
        evaluated, used, threat, seed=seed, batch_size=batch_size, device=device, processes=processes,
        report=report or silent,
    )  # fmt: skip
    setting = {
        "weights": weights, "fingerprint": fingerprint, "images": len(used), "threat": threat, "seed": seed,
        "batch_size": batch_size, "searched": precision(device) if accelerated else None,
        "surrogate": None if surrogate is None else digest(surrogate),
    }  # fmt: skip
    custom = {f"attack {one.name}": one.describe(split.num_classes) for one in chosen if one.name not in ATTACKS}
    described = {name: str(value) for name, value in (setting | custom).items()}
    verdicts = Verdicts(len(used), described, Path(keep) if keep else None, processes[0], context.report)
    facts = {name: described[name] for name in ("weights", "fingerprint", "threat", "seed")}
    images = AdversarialImages(Path(keep_images), facts) if keep_images else None
    return Result(
        model=name or type(model).__name__,
        data=split.name,
        fingerprint=fingerprint,
        weights=weights,
        threat=str(threat),
        eps=threat.eps,
        seed=seed,
        measurements=tuple(
            measure(replace(context, attacked=networks[attack.name]), attack, verdicts, images) for attack in chosen
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
