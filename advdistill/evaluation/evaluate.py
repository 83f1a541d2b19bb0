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
from .._internal.packages import installed
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
from .networks import EvaluatedModel, attacked_networks, precision, split_and_device
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
    """Measure a model's accuracy, clean and under attack, in fp32 and eval mode; the model is not modified.

    Args:
        model: maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        data: images and labels, in any form that `data.as_split` accepts: a Split, `(x, y)`, a DataLoader, a
            TensorDataset, a Hugging Face or another Dataset.
        threat: `Linf(...)` or `L2(...)`, or text such as "Linf 8/255" or "8/255"; `None` is Linf 8/255.
        suite: names in `SUITES` or `ATTACKS`, or `pgd-N`, separated by commas.
        attacks: a sequence of such names and of your own attacks, in place of `suite`. Your own attack is an
            `advdistill.attacks.Attack`, a function `attack(model, x, y, *, rng)`, or named as
            `"python:my_module:my_attack"`. An x' outside the threat model or [0, 1] does not break its image.
        n: evaluate only the first n images.
        batch_size: images between two saves of the verdicts, in whole blocks; no result depends on it. Slow attacks
            are saved more often, after the first block that ends 30 seconds after the last save.
        device: where to run; by default the model's device.
        name: the model's name in tables; `None` is the name of its class.
        accelerated: let every attack search on a copy with folded batch-norm, in bf16 if `device` supports it. The
            fp32 model's prediction at x' still decides. Use the default for results that you publish.
        surrogate: another model for the same images; attacks named `transfer-` search for x' on it.
        keep: a .safetensors file for the verdict on each image. An interrupted evaluation is resumed from it if the
            data and their order are the same. A file of another user, or of an early version, whose random numbers
            differ, is renamed and not used.
        keep_images: a folder for the x' of every image that is classified correctly when clean and broken by an
            attack, one file for each block of images.
        shared: divide the blocks among the processes of torch.distributed; all return the same result.
        report: receives lines of progress, and a line after each attack.

    Returns:
        One measurement for each attack, in the order given; accuracies are fractions.

    Raises:
        ValueError: before any attack: the data have another form or range, the model or the surrogate does not fit
            them, a suite is unknown, a `transfer-` attack has no surrogate, n is larger than the data, two attacks have
            the same name, processes share an evaluation but not the data, or `keep` is from another evaluation.
            Or your own attack, first tried on two images, does not return images like x, or needs a gradient and
            there is none.
        TypeError: an item of `attacks` is neither a name nor an attack, or `data` has an unsupported type.
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
    split, device = split_and_device(model, data, device)
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
    if Clean() not in chosen:  # an image that is wrong when clean is wrong under every attack
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
    """Raise ValueError if the processes have different images, or the same images in another order."""
    number = int(fingerprint, 16)
    ends = torch.tensor([number, -number], device=device)
    torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
    if ends.tolist() != [number, -number]:
        raise ValueError("The processes that share this evaluation were given different images, or another order of "
                         "them. Give each the same: a loader without shuffling and DistributedSampler.")  # fmt: skip
