"""Accuracy of a file, clean and attacked: x' is looked for where there are gradients, and judged by the file."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..acceleration.frozen import Frozen
from ..attacks.autoattack import Report
from ..attacks.square import Square
from ..attacks.suites import ATTACKS, Attack
from ..data import Split
from ..evaluation.measure import measure
from ..evaluation.networks import ITSELF, Judged, Searched
from ..evaluation.verdicts import STANDS, Verdicts, digest
from ..results.result import Measurement
from ..threat import Threat
from .artefact import Artefact
from .shipped import WORST
from .twin import Twin

__all__ = ["attacked", "routes"]

WHITE_BOX = ("pgd-20", "cw-30")


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
    used, judged = split.first(n), Judged(file, split, device)
    setting = {
        "file": identity, "fingerprint": split.fingerprint(), "images": n, "threat": threat, "seed": seed,
        "batch_size": batch_size,
    }  # fmt: skip
    verdicts = Verdicts(n, {name: str(value) for name, value in setting.items()}, keep)
    measured = [
        measure(judged, used, attack, verdicts, searched=searched, batch_size=batch_size, seed=seed, device=device,
                report=report)
        for attack, searched in _attacks(climbed, split, threat, queries, device)
    ]  # fmt: skip
    return (*measured, _worst(measured, verdicts))


def _attacks(
    climbed: Mapping[str, nn.Module | None], split: Split, threat: Threat, queries: int, device: torch.device | str
) -> Iterator[tuple[Attack, Searched]]:
    yield ATTACKS["clean"](threat), ITSELF
    for prefix, network in climbed.items():
        searched = ITSELF if network is None else _searched(prefix, network, split, device)
        for name in WHITE_BOX:
            yield replace(ATTACKS[name](threat), name=prefix + name), searched
    if queries:
        yield Attack(f"square-{queries}", Square(threat, queries)), ITSELF


def _searched(prefix: str, network: nn.Module, split: Split, device: torch.device | str) -> Searched:
    told = "the file's differentiable twin" if prefix == "twin-" else "the network it was made from"
    on_device = Judged(copy.deepcopy(network).to(device), split, device)
    return Searched(on_device, f", found on {told} ({digest(network)})")


def _worst(measured: list[Measurement], verdicts: Verdicts) -> Measurement:
    standing = torch.stack([verdicts.tensors[m.attack] == STANDS for m in measured]).all(0)
    verdicts.begin(WORST, {})
    verdicts.put(WORST, 0, standing, {}, 0.0)
    told = f"right, and broken by none of {', '.join(m.attack for m in measured[1:])}"
    return Measurement(WORST, told, len(standing), int(standing.sum()), round(sum(m.seconds for m in measured), 2))
