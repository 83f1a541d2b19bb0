"""Gradient masking: whether a model withstands attacks only because its gradients mislead them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...attacks.base import Report
from ...data import Given
from ...models.digest import digest
from ...results.masking import Finding, Status, Verdict
from ...threat import Threat, as_threat
from ..context import Context, exact, silent
from ..networks import AttackedNetwork, EvaluatedModel, split_and_device
from .attacks import from_attacks
from .passes import attackable, passes
from .signs import FROM_PASSES, train_mode

__all__ = ["Finding", "Status", "Verdict", "gradient_masking"]


def gradient_masking(
    model: nn.Module,
    data: Given,
    threat: Threat | str | float,
    *,
    n: int = 200,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
    surrogate: nn.Module | None = None,
    report: Report | None = None,
) -> Verdict:
    """Look for signs that a model's robust accuracy is due to weak attacks; the cost is about a dozen PGD-20.

    A finding does not prove masking, and the absence of findings does not prove robustness. In fp32 and eval mode; the
    model and torch's global generators are not modified. If images are counted, the lower end of the 95 % interval of
    their share must exceed a threshold.

    Args:
        model: maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        data: images and labels, as in `evaluate`.
        n: the first n images, or all if there are fewer; at least 2.
        surrogate: another model for the same images; its adversarial images are tried on `model`.
        report: receives a line for each finding.

    Raises:
        ValueError: fewer than 2 images, a model or surrogate that does not fit the data, or logits that are NaN or
            infinite.

    References: Athalye, Carlini and Wagner, Obfuscated Gradients Give a False Sense of Security. ICML 2018.
    Carlini et al., On Evaluating Adversarial Robustness. arXiv:1902.06705.
    """
    (split, device), threat = split_and_device(model, data, device), as_threat(threat)
    if min(n, len(split)) < 2:
        raise ValueError(
            f"Gradient masking is tested on at least 2 images, got n={n} of {split.name}, which has {len(split)}. "
            "Take n=200."
        )
    used, findings, say = split.first(min(n, len(split))), [], report or silent
    with _reproducible(seed):
        copied = EvaluatedModel(model, used, device)
        context = Context(copied, used, threat, attackable(copied), seed, batch_size, device)
        other = None if surrogate is None else attackable(EvaluatedModel(surrogate, used, device))
        for finding in _findings(model, context, other):
            findings.append(finding)
            say(str(finding))
    return Verdict(split.name, str(threat), len(used), seed, tuple(findings), digest(copied.network))


def _findings(model: nn.Module, context: Context, surrogate: AttackedNetwork | None) -> Iterator[Finding]:
    yield train_mode(model)
    found = passes(context)
    for sign in FROM_PASSES:
        yield sign(found)
    yield from from_attacks(context, surrogate)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Use reproducible arithmetic and, for a model with random draws, the same draws; restore the global state."""
    with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"), exact():
        torch.manual_seed(seed)
        yield
