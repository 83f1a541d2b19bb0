"""The model, data and threat model that a command evaluates, and the computations beyond accuracies."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import data as datasets
from .. import models
from .._internal.files import write_json
from .._internal.reading import parse_yaml, read_text
from ..config import THREATS
from ..data import Split
from ..evaluation.inspection import inspect
from ..evaluation.masking import gradient_masking
from ..models.checkpoint import provenance
from ..results.files import ResultFiles
from ..results.result import Result
from ..results.selection import Selection
from ..run import Run
from ..threat import Threat, parse
from .console import say, tell

__all__ = ["Target", "device", "load_with_header", "look_closer"]

ATTEMPTS = 10
MOST = 200  # images for the checks for gradient masking and for an inspection


class Target:
    """The evaluated model (a run's best checkpoint, or any checkpoint), the data and the threat model."""

    def __init__(
        self, model: str, data: str | None, folder: str | None, norm: str | None, eps: str | None,
        size: int | None = None,
    ):  # fmt: skip
        self.run = Run(model) if Path(model).is_dir() else None
        self.name, self.reference = Path(model).name, model
        self.network, self.header = load_with_header(model, self.run.student_reference if self.run else model)
        shared = _shared(model)
        self._data = data or shared.get("data"), folder, size or shared.get("size")
        self.split = self.part("test")
        known = self.run.recipe.attack.threat if self.run else parse(shared.get("threat", "Linf 8/255"))
        self.threat = _threat(known, norm, eps)

    def part(self, which: str) -> Split:
        """Load the `train` or `test` split of the given dataset, or else of the run's."""
        name, folder, size = self._data
        if self.run:
            known = self.run.recipe.data
            size = size or known.size
            if name in (None, known.name):
                return datasets.load(
                    known.name, which, folder or known.folder, size, known.stream or None, **known.reading
                )
        if name is None:
            raise ValueError("A checkpoint does not record its dataset; give --data, e.g. --data cifar10.")
        return datasets.load(name, which, folder, size, stream=None)

    def other(self, surrogate: str | None) -> nn.Module | None:
        """Load the surrogate, or else the run's teacher; `None` if there is no teacher or it no longer exists."""
        reference = surrogate or (self.run.recipe.teacher if self.run else None)
        if reference is None:
            return None
        try:
            return models.load(reference)
        except FileNotFoundError:
            if surrogate:
                raise
            say(f"the teacher {reference} does not exist any more; continuing without it")
            return None

    def chosen(self) -> Selection | None:
        """Return how the checkpoint was chosen, and whether it was chosen on the split on which it is evaluated."""
        return Selection.from_header(self.header, self.split.fingerprint())


def load_with_header(reference: str, network_of: str | None = None) -> tuple[nn.Module, dict[str, str]]:
    """Load a model and its file's header, both from the same version of the file, which a training may replace.

    `network_of`: the network's reference, if it is the user's own class with weights from the file.
    """
    for _ in range(ATTEMPTS):
        header, network = provenance(reference), models.load(network_of or reference)
        if provenance(reference) == header:
            return network, header
    raise ValueError(f"{reference} changes faster than it can be read. Copy the checkpoint, and name the copy.")


def look_closer(
    target: Target,
    other: nn.Module | None,
    files: ResultFiles | None,
    device: torch.device | str,
    *,
    n: int | None,
    seed: int,
    masking: bool,
    inspection: bool,
) -> None:
    """Check for gradient masking, and compute a report's pictures and curve, on the first `n` images (at most 200)."""
    where: dict[str, Any] = {"n": min(n or MOST, MOST), "seed": seed, "device": device, "report": tell}
    if masking:
        verdict = gradient_masking(target.network, target.split, target.threat, surrogate=other, **where)
        tell(f"gradient masking: {verdict.status}")
        if files:
            write_json(files.masking, verdict.to_json())
    if inspection:
        found = inspect(target.network, target.split, target.threat, teacher=other, **where | {"report": say})
        if files:
            found.save(files.inspection)


def _shared(model: str) -> dict[str, Any]:
    """Return the training's data, size and threat model from the folder of an `hf:` reference, written by `push`.

    Raises:
        ValueError: the folder's files are damaged.
    """
    reference = models.reference.parse(model)
    if reference.kind != "hf":
        return {}
    options = reference.options
    folder = models.reference.hugging_face_file(reference.name, options.get("file"), options.get("revision")).parent
    known: dict[str, Any] = {}
    if (folder / "result.json").is_file():  # earlier versions did not write them to config.json
        measured = Result.load(folder / "result.json")
        known = {"data": measured.data.rpartition("/")[0], "threat": measured.threat}
    config = parse_yaml(read_text(folder / "config.json"), "config.json") if (folder / "config.json").is_file() else {}
    kinds = {"data": str, "size": int, "threat": str}
    written = config.items() if isinstance(config, dict) else ()
    return known | {name: value for name, value in written if name in kinds and isinstance(value, kinds[name])}


def _threat(known: Threat, norm: str | None, eps: str | None) -> Threat:
    kind = THREATS[norm] if norm else type(known)
    if eps is not None:
        return kind(eps)
    return known if kind is type(known) else kind()


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
