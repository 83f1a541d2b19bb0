"""Training runs of about a second for the endurance test, each with an undisturbed run to compare with."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from children import Child
from safetensors import safe_open
from training import differences, make_teacher, short, state_of

from advdistill import Data, Recipe, Run, data

METHODS = {  # together they use every option of the loop that has state
    "adaad+igdm": {},
    "bmtard": {"ema": 0.9},
    "mart": {"validate_every": 2},
    "rslad": {"swa": 1},
    "ciard": {},
    "peeraid": {"awp": 0.005},
}


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A recipe, and the function `always` that every process which trains it calls first.

    Attributes:
        images: the folder of the recipe's images, None if the images come with a package.
    """

    name: str
    recipe: Recipe
    folder: Path
    always: Callable[[], None] = nothing
    images: Path | None = None

    @cached_property
    def file(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recipe.save(self.folder / "recipe.yaml")
        return self.folder / "recipe.yaml"

    @property
    def whole(self) -> Run:
        return self._undisturbed[0]

    @property
    def seconds(self) -> float:
        """How long an undisturbed run takes."""
        return self._undisturbed[1]

    @cached_property
    def _undisturbed(self) -> tuple[Run, float]:
        began = time.monotonic()
        ended = train(self.file, self.folder / "whole", self.always).wait()
        assert ended.returncode == 0, ended.stderr
        return Run(self.folder / "whole"), time.monotonic() - began

    def changed(self, name: str, always: Callable[[], None], **changes) -> "Case":
        return replace(self, name=name, recipe=self.recipe.replace(**changes), folder=self.folder / name, always=always)

    def differs(self, run: Run) -> list[str]:
        """List the differences between a finished run and the undisturbed one."""
        return [
            *(f"{name}: {where}" for name in ("best", "last") for where in _weights_differ(self.whole, run, name)),
            *(["metrics.jsonl"] if _rows(self.whole) != _rows(run) else []),
            *differences(state_of(self.whole), state_of(run)),
        ]


def train(recipe: Path, out: Path, before: Callable[[], None] | None = None) -> Child:
    return Child("train", recipe, "--suite", "None", "--out", out, before=before)


def cases(folder: Path) -> list[Case]:
    """Return one case for each method, each with epochs of six steps."""
    teacher = make_teacher(folder)
    made = [Case(name, short(name, teacher, **options), folder / name) for name, options in METHODS.items()]
    images = _idx(folder / "images")
    other = short("pgd_at", data=Data("fashion_mnist", str(images), validation=0.1, train_images=192))
    return [*made, Case("pgd_at", other, folder / "pgd_at", images=images)]


def _idx(folder: Path) -> Path:
    """Write the digits as Fashion-MNIST's IDX files of 28 x 28 pixels; return the folder."""
    folder.mkdir()
    split = data.load("digits", "train")
    grown = np.kron(split.images[:, 0].numpy(), np.ones((1, 3, 3), np.uint8))
    images = np.pad(grown, ((0, 0), (2, 2), (2, 2)))
    for name, array in (("images-idx3", images), ("labels-idx1", split.labels.numpy().astype(np.uint8))):
        header = np.array([0x0800 + array.ndim, *array.shape], ">i4").tobytes()
        (folder / f"train-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


def _weights_differ(first: Run, second: Run, name: str) -> list[str]:
    (one, header), (other, same) = _read(getattr(first, name)), _read(getattr(second, name))
    return differences(one, other) + ([] if header == same else ["header"])


def _read(path: Path) -> tuple[dict, dict]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


def _rows(run: Run) -> list[dict]:
    lines = run.metrics.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
