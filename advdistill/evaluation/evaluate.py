"""`evaluate`: a model's accuracy, clean and under attack, as a `Result`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from .._internal.adapter import unwrapped
from .._internal.checks import hint_at_softmax
from .._internal.messages import is_whole
from .._internal.optional import installed
from ..attacks.base import Attack, Report
from ..attacks.suites import Clean, is_named
from ..attacks.suites import attacks as chosen_attacks
from ..data import Given
from ..data.batches import to_float
from ..models.digest import digest
from ..results.files import AdversarialImages
from ..results.result import Result
from ..threat import Threat, as_threat
from .context import Context, silent
from .measure import measure, try_on_two_images
from .networks import EvaluatedModel, attacked_networks, placed, precision
from .verdicts import Verdicts

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    data: Given,
    threat: Threat | str | float | None = None,
    suite: str = "paper",
    *,
    attacks: Sequence[str | Attack | Callable[..., Tensor]] | None = None,
    n: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
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
        data: images and labels, in any form that `data.as_split` understands: a Split, `(x, y)`, a DataLoader, a
            TensorDataset, a Hugging Face or another Dataset.
        threat: `Linf(...)` or `L2(...)`, also as text such as "Linf 8/255" or "8/255"; `None` is Linf 8/255.
        suite: one of `SUITES`, or names of `ATTACKS` and `pgd-N` with commas between.
        attacks: such names, and attacks of your own in place of `suite`: see `advdistill.attacks.Attack`; a function
            `attack(model, x, y, *, rng)` is one, and `"python:my_module:my_attack"` names one. An x' outside the threat
            model or [0, 1] breaks nothing.
        n: the first n images only.
        batch_size: images between two saves of the verdicts, in whole blocks; no figure depends on it.
        device: where to run; by default where the model is.
        name: of the model in tables; `None` is its class.
        accelerated: let every attack search on a folded copy, in bf16 where `device` has it; what counts is still the
            fp32 model's prediction at x'. Claims take the default.
        surrogate: another model for the same images; attacks called `transfer-` take their x' from it.
        keep: a .safetensors file for the verdict on each image, written after every batch; an evaluation that was
            interrupted is resumed from it, provided that the data are the same, in the same order. One of an earlier
            version, whose random numbers were others, is renamed and not continued.
        keep_images: a folder for the x' of every image that was classified correctly and was broken, a file for each
            block of images.
        shared: the processes of torch.distributed share the blocks, and all return the same.
        report: receives a line after each batch and attack.

    Returns:
        One measurement for each attack, in their order; accuracies are fractions.

    Raises:
        ValueError: the data are of another form or range, the model or the surrogate does not fit them, an unknown
            suite, a `transfer-` attack without a surrogate, n larger than the data, two attacks of one name, processes
            that share an evaluation but not the data, or `keep` is of another evaluation; nothing was attacked.
            Or an attack of your own, first tried on two images, returns something else than images like x, or needs a
            gradient where there is none.
        TypeError: something in `attacks` is neither a name nor an attack, or `data` is no data.
        ImportError: an attack needs pyautoattack, which is missing.

    Example:
        >>> import advdistill as ad
        >>> model, test = ad.models.create("convnet-8", 10, 1), ad.data.load("digits", "test")
        >>> result = ad.evaluate(model, test, ad.Linf("8/255"), "quick", n=20)
        >>> [m.attack for m in result.measurements], result.threat, result["pgd-20"].n
        (['clean', 'fgsm', 'pgd-20'], 'Linf 8/255', 20)
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> x, y = test.images / 255, test.labels  # floats in [0, 1]
        >>> loader = DataLoader(TensorDataset(x, y), batch_size=64)
        >>> same = [ad.evaluate(model, data, ad.Linf("8/255"), "quick", n=20) for data in (loader, (x, y))]
        >>> [one.fingerprint == result.fingerprint for one in same]
        [True, True]
    """
    for what, value, least in (("n", n, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value is not None and not is_whole(value, least):
            raise ValueError(f"{what} must be a whole number of at least {least}, got {value!r}.")
    threat = as_threat(threat)
    split, device = placed(model, data, device)
    chosen = chosen_attacks(suite if attacks is None else attacks, threat)
    used = split.first(n) if n is not None else split
    evaluated = EvaluatedModel(model, split, device)
    hint_at_softmax("model", evaluated(to_float(split.images[:2].to(device))))
    networks = attacked_networks(chosen, evaluated, surrogate, split, device, accelerated)
    weights, fingerprint = digest(evaluated.network), split.fingerprint()
    if shared:
        _check_same(fingerprint, device)
    processes = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
    context = Context(
        evaluated, used, threat, seed=seed, batch_size=batch_size, device=device, processes=processes,
        report=report or silent,
    )  # fmt: skip
    setting = {
        "weights": weights, "fingerprint": fingerprint, "images": len(used), "threat": threat, "seed": seed,
        "block": context.block, "searched": precision(device) if accelerated else None,
        "surrogate": None if surrogate is None else digest(surrogate),
    }  # fmt: skip
    custom = [one for one in chosen if not is_named(one.name)]
    setting |= {f"attack {one.name}": f"{one.describe(split.num_classes)}; {one.settings}" for one in custom}
    described = {name: str(value) for name, value in setting.items()}
    verdicts = Verdicts(len(used), described, Path(keep) if keep else None, processes[0], context.report)
    facts = {name: described[name] for name in ("weights", "fingerprint", "threat", "seed")}
    images = AdversarialImages(Path(keep_images), facts) if keep_images else None
    if verdicts.set_aside and images:
        images.set_aside()
    if shared:
        torch.distributed.barrier()  # nobody saves an image before the first process has renamed the folder
    for one in custom:
        try_on_two_images(replace(context, attacked=networks[one.name]), one, verdicts)
    measured = {}
    if Clean() not in chosen:  # what is wrong when clean is wrong under every attack
        measure(replace(context, report=silent), Clean(), verdicts)
    for attack in sorted(chosen, key=lambda one: one.perturbs):
        measured[attack.name] = measure(replace(context, attacked=networks[attack.name]), attack, verdicts, images)
    return Result(
        model=name or type(unwrapped(model)).__name__,
        data=split.name,
        fingerprint=fingerprint,
        weights=weights,
        threat=str(threat),
        eps=threat.eps,
        seed=seed,
        measurements=tuple(measured[attack.name] for attack in chosen),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=installed("advdistill", "torch", "pyautoattack", *(name for one in custom for name in one.packages)),
    )


def _check_same(fingerprint: str, device: torch.device | str) -> None:
    """Raise ValueError where processes have other images, or the same in another order."""
    number = int(fingerprint, 16)
    ends = torch.tensor([number, -number], device=device)
    torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
    if ends.tolist() != [number, -number]:
        raise ValueError("The processes that share this evaluation were given different images, or another order of "
                         "them. Give each the same: a loader without shuffling and DistributedSampler.")  # fmt: skip
