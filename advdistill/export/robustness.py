"""Accuracy of a file, clean and attacked: x' is looked for where there are gradients, and judged by the file."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..acceleration.frozen import Frozen
from ..attacks.base import Attack, Report
from ..attacks.square import Square
from ..attacks.suites import Clean, cw_30, pgd_20
from ..data import Split
from ..evaluation.context import Context, silent
from ..evaluation.measure import measure
from ..evaluation.networks import ITSELF, AttackedNetwork, EvaluatedModel
from ..evaluation.verdicts import CORRECT, Verdicts, digest
from ..results.result import Measurement
from ..threat import Threat
from .artefact import Artefact
from .shipped import WORST
from .twin import Twin

__all__ = ["attacked", "routes"]

WHITE_BOX = (pgd_20, cw_30)


def routes(artefact: Artefact, network: nn.Module) -> dict[str, nn.Module | None]:
    """On what the white-box attacks climb, by the prefix of their names; `None` is the file itself.

    An ONNX file has no gradients: they climb the network it was made from, and for a file in less than fp32 also its
    differentiable twin.
    """
    if artefact.graph is None:
        return {"": None}
    climbed: dict[str, nn.Module | None] = {"transfer-": Frozen(network)}
    if artefact.plain is not None:
        climbed["twin-"] = Twin(artefact.graph)
    return climbed


def attacked(
    file: nn.Module,
    identity: str,
    climbed: Mapping[str, nn.Module | None],
    split: Split,
    threat: Threat,
    *,
    n: int,
    queries: int = 200,
    batch_size: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
    keep: Path | None = None,
    report: Report | None = None,
) -> tuple[Measurement, ...]:
    """Clean accuracy, accuracy under each attack, and under all of them: an image stands if no attack broke it.

    Args:
        file: as it was opened from disk.
        identity: names what it computes.
        climbed: as `routes` gives it.
        n: the first n images.
        queries: of Square for each image, asked of the file itself; 0 leaves it out.
        device: of the networks that are climbed.
        keep: as in `evaluate`; an interrupted measurement is continued there.

    Raises:
        ValueError: a network does not fit the split, or `keep` holds another measurement.
        ImportError: Square needs pyautoattack, which is missing.
    """
    context = Context(
        EvaluatedModel(file, split, device), split.first(n), threat,
        seed=seed, batch_size=batch_size, device=device, report=report or silent,
    )  # fmt: skip
    setting = {
        "file": identity, "fingerprint": split.fingerprint(), "images": n, "threat": threat, "seed": seed,
        "batch_size": batch_size,
    }  # fmt: skip
    verdicts = Verdicts(n, {name: str(value) for name, value in setting.items()}, keep)
    measured = [
        measure(replace(context, attacked=network), attack, verdicts)
        for attack, network in _attacks(climbed, split, threat, queries, device)
    ]
    return (*measured, _worst(measured, verdicts))


def _attacks(
    climbed: Mapping[str, nn.Module | None], split: Split, threat: Threat, queries: int, device: torch.device | str
) -> Iterator[tuple[Attack, AttackedNetwork]]:
    yield Clean(), ITSELF
    for prefix, network in climbed.items():
        found = ITSELF if network is None else _attacked_network(prefix, network, split, device)
        for attack in WHITE_BOX:
            yield replace(attack(threat), name=prefix + attack(threat).name), found
    if queries:
        yield Square(threat, queries), ITSELF


def _attacked_network(prefix: str, network: nn.Module, split: Split, device: torch.device | str) -> AttackedNetwork:
    told = "the file's differentiable twin" if prefix == "twin-" else "the network it was made from"
    on_device = EvaluatedModel(copy.deepcopy(network).to(device), split, device)
    return AttackedNetwork(on_device, f", found on {told} ({digest(network)})")


def _worst(measured: list[Measurement], verdicts: Verdicts) -> Measurement:
    standing = torch.stack([verdicts.tensors[m.attack] == CORRECT for m in measured]).all(0)
    verdicts.begin(WORST, {})
    verdicts.put(WORST, 0, standing, {}, 0.0)
    told = f"right, and broken by none of {', '.join(m.attack for m in measured[1:])}"
    return Measurement(WORST, told, len(standing), int(standing.sum()), round(sum(m.seconds for m in measured), 2))
