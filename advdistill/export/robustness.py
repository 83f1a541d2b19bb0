"""Accuracy of an exported file, clean and under attack.

An attack searches for x' on a network that has gradients; whether x' is misclassified is decided by the file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from .._internal.adapter import copied
from ..acceleration.frozen import Frozen
from ..attacks.base import Attack
from ..attacks.square import Square
from ..attacks.suites import Clean, cw_30, pgd_20
from ..evaluation.context import Context
from ..evaluation.measure import measure
from ..evaluation.networks import ITSELF, AttackedNetwork, EvaluatedModel
from ..evaluation.verdicts import CORRECT, Verdicts
from ..models.digest import digest
from ..results.result import Measurement
from .artefact import Artefact
from .result import WORST
from .runtime import Twin

__all__ = ["measure_under_attack", "routes"]

WHITE_BOX = (pgd_20, cw_30)


def routes(artefact: Artefact, network: nn.Module) -> dict[str, nn.Module | None]:
    """Return the networks that white-box attacks search on, by prefix of the attacks' names; `None` is the file itself.

    An ONNX file has no gradients: attacks search on the network from which it was made and, if the file is in less
    than fp32, also on its differentiable twin.
    """
    if artefact.graph is None:
        return {"": None}
    gradient_networks: dict[str, nn.Module | None] = {"transfer-": Frozen(network)}
    if artefact.plain is not None:
        gradient_networks["twin-"] = Twin(artefact.graph)
    return gradient_networks


def measure_under_attack(
    context: Context,
    gradient_networks: Mapping[str, nn.Module | None],
    *,
    identity: str,
    n: int,
    queries: int = 200,
    keep: Path | None = None,
) -> tuple[Measurement, ...]:
    """Measure accuracy clean, under each attack, and under all: an image is then correct if no attack broke it.

    Args:
        context: `model` is the file as opened from disk, `split` the whole split.
        gradient_networks: the networks that white-box attacks search on, as returned by `routes`.
        identity: twelve hex digits that identify what the file computes.
        n: evaluate the first n images.
        queries: queries of Square to the file itself, for each image; 0 skips Square.
        keep: as in `evaluate`; an interrupted measurement is resumed from this file.

    Raises:
        ValueError: a network does not fit the split, or `keep` holds another measurement.
        ImportError: Square needs pyautoattack, which is missing.
    """
    setting = {
        "file": identity, "fingerprint": context.split.fingerprint(), "images": n, "threat": context.threat,
        "seed": context.seed, "block": context.block,
    }  # fmt: skip
    verdicts = Verdicts(n, {name: str(value) for name, value in setting.items()}, keep, report=context.report)
    evaluated = EvaluatedModel(context.model, context.split, context.device)
    first = replace(context, model=evaluated, split=context.split.first(n))
    measured = [
        measure(replace(first, attacked=network), attack, verdicts)
        for attack, network in _attacks_and_networks(context, gradient_networks, queries)
    ]
    return (*measured, _worst_case(measured, verdicts))


def _attacks_and_networks(
    context: Context, gradient_networks: Mapping[str, nn.Module | None], queries: int
) -> Iterator[tuple[Attack, AttackedNetwork]]:
    """Yield each attack and the network it searches on."""
    yield Clean(), ITSELF
    for prefix, network in gradient_networks.items():
        found = ITSELF if network is None else _attacked_network(prefix, network, context)
        for attack in (white_box(context.threat) for white_box in WHITE_BOX):
            yield replace(attack, name=prefix + attack.name), found
    if queries:
        yield Square(context.threat, queries), ITSELF


def _attacked_network(prefix: str, network: nn.Module, context: Context) -> AttackedNetwork:
    source = "the file's differentiable twin" if prefix == "twin-" else "the network it was made from"
    on_device = EvaluatedModel(copied(network).to(context.device), context.split, context.device)
    return AttackedNetwork(on_device, f", found on {source} ({digest(network)})")


def _worst_case(measured: list[Measurement], verdicts: Verdicts) -> Measurement:
    correct = torch.stack([verdicts.tensors[m.attack] == CORRECT for m in measured]).all(0)
    verdicts.begin(WORST, {})
    verdicts.put(WORST, 0, correct, {}, 0.0)
    settings = f"right, and broken by none of {', '.join(m.attack for m in measured[1:])}"
    return Measurement(WORST, settings, len(correct), int(correct.sum()), round(sum(m.seconds for m in measured), 2))
