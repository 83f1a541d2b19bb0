"""Gradient masking: whether a model withstands attacks only because its gradients lead them nowhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...data import Split
from ...results.masking import Finding, Status, Verdict
from ...threat import Threat
from ..networks import Judged
from .attacks import Field, from_attacks
from .passes import passes
from .signs import FROM_PASSES, train_mode

__all__ = ["Finding", "Status", "Verdict", "gradient_masking"]


def gradient_masking(
    model: nn.Module,
    split: Split,
    threat: Threat,
    *,
    n: int = 200,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str = "cpu",
    surrogate: nn.Module | None = None,
    report: Callable[[str], None] | None = None,
) -> Verdict:
    """Look for signs that a model's robust accuracy is the attack's failure; it costs about a dozen PGD-20.

    A finding is no proof of masking, and their absence none of robustness. In fp32 and eval mode; the model and
    torch's global generators stay as they are. Where images are counted, it is the lower end of their share's 95 %
    interval that must pass a threshold.

    Args:
        model: images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.
        n: the first n images, all of them if the split has fewer; at least 2.
        surrogate: another model for the same images, whose adversarial examples are tried on `model`.
        report: receives a line for each finding.

    Raises:
        ValueError: fewer than 2 images, a model or surrogate that does not fit the split, or logits that are NaN or
            infinite.

    References: Athalye, Carlini and Wagner, Obfuscated Gradients Give a False Sense of Security. ICML 2018.
    Carlini et al., On Evaluating Adversarial Robustness. arXiv:1902.06705.
    """
    if min(n, len(split)) < 2:
        raise ValueError(
            f"Gradient masking is judged on at least 2 images, got n={n} of {split.name}, which has {len(split)}. "
            "Take n=200."
        )
    used = split.first(min(n, len(split)))
    findings = []
    with _settled(seed):
        field = Field(Judged(model, used, device), used, threat, batch_size, seed, device)
        other = None if surrogate is None else Judged(surrogate, used, device)
        for finding in _findings(model, field, other):
            findings.append(finding)
            if report:
                report(str(finding))
    return Verdict(split.name, str(threat), len(used), seed, tuple(findings))


def _findings(model: nn.Module, field: Field, surrogate: Judged | None) -> Iterator[Finding]:
    yield train_mode(model)
    seen = passes(field.model, field.split, field.batch_size, field.device)
    for look in FROM_PASSES:
        yield look(seen)
    yield from from_attacks(field, surrogate)


@contextmanager
def _settled(seed: int) -> Iterator[None]:
    """The same arithmetic and, for a model that draws, the same draws each time; the global state comes back."""
    with (
        torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        torch.manual_seed(seed)
        yield
