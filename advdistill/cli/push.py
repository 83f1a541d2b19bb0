"""`advdistill push`."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tyro.conf import Positional

from .._internal.files import make_folder, sha256, write_atomic, write_json
from .._internal.messages import first_line
from .._internal.packages import require
from ..results.result import Result
from .console import say
from .early import check_model

if TYPE_CHECKING:
    from torch import nn

    from ..recipe import Recipe

__all__ = ["Push"]

RESULT = ".result.json"  # suffix of an exported file's result, after the file's name
PUSHED_FILES = ("*result.json", "robustbench.json", "*.onnx", "*.pt2")  # files of an earlier push
EXPORTED = (".onnx", ".pt2")
SELECTION_FIELDS = ("chosen", "chosen_on", "selection")
LIBRARY = {"library_name": "advdistill"}  # identifies a folder that `push` wrote
HUB = "hf:"


@dataclass(frozen=True)
class Push:
    """Write a Hugging Face model folder: weights, configuration, results, and a card with what was measured."""

    model: Positional[str]
    """A run folder or a checkpoint."""
    to: str
    """A folder to write, or hf:OWNER/NAME to upload to."""
    result: Path | None = None
    """result.json of `advdistill evaluate`; if omitted, the run's."""

    def __call__(self) -> int:
        check_model(self.model)
        if not self.to.startswith(HUB):
            _write(Path(self.to), self.model, self.result, f"{HUB}{Path(self.to).resolve().name}")
            say(f"written to {self.to}; ad.models.load('{HUB}{self.to}') reads it back")
            return 0
        if self.to.count("/") != 1:
            raise ValueError(
                f"{self.to} is not a repository; write {HUB}OWNER/NAME, or a folder's path without {HUB}"
            )
        hub = require("huggingface_hub", "push", "hub")
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), self.model, self.result, self.to)
            _upload(hub, Path(folder), self.to.removeprefix(HUB))
        say(f"uploaded to https://huggingface.co/{self.to.removeprefix(HUB)}")
        return 0


def _write(folder: Path, model: str, result: Path | None, reference: str) -> None:
    """Write the model folder; the weights last, because a folder with weights counts as complete."""
    from .. import models
    from ..export.card import About, card
    from ..models import Classifier
    from ..models.reference import parse
    from ..results.files import ResultFiles
    from ..run import Run
    from .target import load_with_header

    _check(folder)
    run = Run(model) if Path(model, "recipe.yaml").is_file() else None
    network, said = load_with_header(model)
    if not isinstance(network, Classifier):
        raise ValueError(f"{model} is not a network of `advdistill list models`, so a folder could not rebuild it.")
    source = run.best if run else Path(parse(model).name)
    beside = result or (run.result if run else source.with_suffix(".json"))
    measured, unverified = _measured(beside, result is not None, network)
    exported = _exported(source) if source.is_file() else []
    masking = _masking(ResultFiles(measured).masking, network) if measured else None
    files = {file.name: Result.load(_result_of(file)) for file in exported}
    make_folder(folder)  # all inputs have been read and checked
    write_json(folder / "config.json", LIBRARY | asdict(network.spec) | (_training(run.recipe) if run else {}))
    for old in (file for pattern in PUSHED_FILES for file in folder.glob(pattern)):
        old.unlink()
    for file in (file for of_one in exported for file in (of_one, _result_of(of_one))):
        write_atomic(folder / file.name, partial(shutil.copyfile, file))
    about = About(
        name=Path(reference.removeprefix(HUB)).name, reference=reference, spec=asdict(network.spec),
        result=_recorded(measured, folder) if measured else None, recipe=run.recipe if run else None,
        chosen=said.get("chosen"), masking=masking, files=files, unverified=unverified,
    )  # fmt: skip
    text = card(about)
    write_atomic(folder / "README.md", lambda temporary: temporary.write_text(text))
    models.save(network, folder / "model.safetensors", {name: said[name] for name in SELECTION_FIELDS if name in said})


def _training(recipe: "Recipe") -> dict[str, object]:
    """Return the settings that an evaluation reads from the folder's configuration: data, image size, threat model."""
    return {"data": recipe.data.name, "size": recipe.data.size, "threat": str(recipe.attack.threat)}


def _check(folder: Path) -> None:
    """Raise ValueError if `folder` is a file, or has files that `push` did not write."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file. Give --to a folder, or hf:OWNER/NAME.")
    ours = folder / "config.json"
    known = ours.is_file() and LIBRARY["library_name"] in ours.read_text()
    if folder.exists() and any(folder.iterdir()) and not known:
        raise ValueError(f"{folder} is not empty, and `advdistill push` did not write it. Give --to another folder.")


def _measured(file: Path, given: bool, network: "nn.Module") -> tuple[Path | None, str | None]:
    """Return the result's file, or `None` if there is none, and the reason if its figures cannot be checked.

    Raises:
        ValueError: the result is of another network or does not record which, or its verdicts contradict its counts.
    """
    from ..models.digest import digest
    from ..report.loading import read_verdicts, unverifiable_figures
    from ..results.consistency import same_weights
    from ..results.files import ResultFiles

    if not file.exists() and not given:
        say(f"{file} does not exist: the card will say that nothing was measured")
        return None, None
    found, own = Result.load(file), digest(network)
    weights = found.weights
    if not same_weights(weights, own):
        raise ValueError(
            f"{file} was measured on weights {weights}, but this model has {own}. Evaluate this one, or give "
            "--result."
        )
    if unverified := unverifiable_figures(found, read_verdicts(ResultFiles(file).verdicts, found)):
        say(f"{file}: {unverified}; the card says so")
    return file, unverified


def _recorded(file: Path, folder: Path) -> Result:
    """Write the result into the folder, and a RobustBench entry if it has the accuracies for one; return the result."""
    from ..report.formats import robustbench_entry

    result = Result.load(file)
    result.save(folder / "result.json")
    try:
        write_json(folder / "robustbench.json", robustbench_entry(result))
    except ValueError as error:
        say(f"no robustbench.json: {error}")
    return result


def _masking(file: Path, network: "nn.Module") -> str | None:
    """Return the verdict on gradient masking; `None` if there is none, or it is of another network."""
    from ..models.digest import digest
    from ..results.consistency import same_weights
    from ..results.masking import Verdict

    if not file.exists():
        return None
    verdict = Verdict.load(file)
    if verdict.weights is not None and not same_weights(verdict.weights, digest(network)):
        say(f"{file} was measured on other weights ({verdict.weights}) and is left out of the card")
        return None
    return verdict.status


def _exported(source: Path) -> list[Path]:
    """Return the files in a checkpoint's folder that `export` wrote from it, if unchanged since they were measured."""
    found = []
    for record in sorted(source.parent.glob(f"*{RESULT}")):
        known, file = json.loads(record.read_text()).get("file", {}), record.with_name(record.name.removesuffix(RESULT))
        whole = file.is_file() and sha256(file) == known.get("sha256")
        if whole and file.suffix in EXPORTED and known["source"].get("source_sha256") == sha256(source):
            found.append(file)
    return found


def _result_of(file: Path) -> Path:
    return file.with_name(file.name + RESULT)


def _upload(hub: ModuleType, folder: Path, name: str) -> None:
    api = hub.HfApi()
    try:
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="advdistill push")
    except Exception as error:  # raised by the client and by the libraries it uses
        raise OSError(
            f"{HUB}{name} could not be written ({first_line(error)}). Are you logged in? hf auth login"
        ) from error
