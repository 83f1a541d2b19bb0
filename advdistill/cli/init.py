"""`advdistill init`: recipes for your own images, each value with its reason."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from .._internal.files import make_folder
from .console import CONSOLE, columns, say, tell
from .early import check_data

if TYPE_CHECKING:
    from ..data.own.collection import Survey

__all__ = ["Draft", "Init"]

_SHOWN = 12  # classes in the table
_SIDES = (64, 32, 16, 8)
_FEW = 10_000
_LONGER = {"pgd_at": 11 / 4, "rslad": 13 / 6}  # an epoch's forward passes with ten attack steps / with three
_TEMPLATE = """\
# {title}
# Fields left out have their defaults: `advdistill train THIS_FILE --help` shows every field.

method: {method}  # others: advdistill list methods
student: {student}  # others: advdistill list models
{teacher}data:
  name: {name}
{size}  validation: 0.1  # share of the training images held out to choose the checkpoint
  augment: {augment}  # crop_flip mirrors images: if that changes the class (digits, letters, signs), use shift
attack:
  steps: 3  # with more epochs: ahead of ten in as many forward passes on digits, Fashion-MNIST and CIFAR-10
  step_size: {step}  # half of eps
  threat:
    linf: {eps}  # {why}
optimizer:
  lr: {rate}  # the highest of the schedule; lower it if the losses jump
  weight_decay: 0.0005
  nesterov: true
schedule:
  kind: onecycle
  warmup: 0.2
epochs: {epochs}  # for {images} training images; as many forward passes as {tens} epochs of ten attack steps
validate_every: 10
statistics: adversarial  # batch-norm's, estimated on adversarial training images before each validation
batch_size: {batch}
precision: {precision}  # auto uses bf16 where the hardware has it
"""


@dataclass(frozen=True)
class Init:
    """Examine your own images and write two recipes: a robust teacher, and a student distilled from it."""

    data: Positional[str]
    """A folder of images, .npz, .csv, .tsv, .parquet, hf:OWNER/NAME, or one of `advdistill list datasets`."""
    out: Path | None = None
    """Student recipe to write, a new .yaml; the teacher's is written next to it. By default named after the data."""
    size: int | None = None
    """Side in pixels to which the images are resized; chosen for you if their sizes differ."""
    teacher: str | None = None
    """An existing robust teacher: a run folder, or file:PATH. Then no recipe for a teacher is written."""

    def __call__(self) -> int:
        check_data(self.data)

        from .. import data as datasets
        from ..data.own.collection import survey
        from ..data.own.stack import refusal

        student_file = self.out or Path(f"{_slug(self.data)}.yaml")
        if student_file.suffix not in (".yaml", ".yml"):
            raise ValueError(f"{student_file} must end in .yaml; give --out NAME.yaml.")
        name = student_file.stem
        teacher_file = None if self.teacher else student_file.with_name(f"{name}.teacher{student_file.suffix}")
        files = [file for file in (teacher_file, student_file) if file]
        for file in files:
            if file.exists():
                raise FileExistsError(f"{file} exists already; give another --out, or delete it.")
        collection = datasets.collect(self.data)
        say(f"examining {len(collection)} images")
        found = survey(collection)
        CONSOLE.print(_classes(found))
        for line in _lines(found):
            tell(line)
        if found.faults:
            raise refusal(collection, list(found.faults))
        draft = Draft(found, self.data, self.size)
        texts = [draft.teacher()] if teacher_file else []
        for file, text in zip(files, [*texts, draft.student(self.teacher or f"runs/{name}.teacher")], strict=True):
            make_folder(file.parent)
            with file.open("x") as stream:
                stream.write(text)
        tell("\nWritten: " + ", ".join(map(str, files)) + ". Read them, then:\n")
        for command in _plan(name, student_file, teacher_file):
            tell(f"  advdistill {shlex.join(command)}", wrap=False)
        return 0


@dataclass(frozen=True)
class Draft:
    """The recipes for the user's data.

    Args:
        found: the survey of the images.
        name: the reference to the data in the recipes.
        size: the side to resize to, if the user gave one.
    """

    found: "Survey"
    name: str
    size: int | None = None

    def teacher(self) -> str:
        """Return the YAML of a recipe for a robust teacher."""
        return self._written("A robust teacher, by adversarial training alone.", "pgd_at", self.networks()[0])

    def student(self, teacher: str) -> str:
        """Return the YAML of a recipe for a student distilled from `teacher`."""
        line = f"teacher: {json.dumps(teacher)}  # a run folder, or file:PATH of a checkpoint\n"
        return self._written("A small student, distilled from a robust teacher.", "rslad", self.networks()[1], line)

    @property
    def side(self) -> int:
        """The shorter side of the training images, after resizing."""
        return self.resized or min(next(iter(self.found.sizes)))

    @property
    def resized(self) -> int | None:
        """The side to resize to: `size`; else, if image sizes differ, one that half of the images reach, 64 at most."""
        if self.size or len(self.found.sizes) == 1:
            return self.size
        sides = sorted(min(header.height, header.width) for header in self.found.headers)
        return next((side for side in _SIDES if side <= sides[len(sides) // 2]), _SIDES[-1])

    @property
    def grey(self) -> bool:
        return not any(header.colour for header in self.found.headers)

    def networks(self) -> tuple[str, str]:
        """Return the names of a teacher and a student network."""
        if self.side <= 16:
            return "convnet-24", "convnet-4"
        return ("resnet20", "resnet8") if self.grey or self._images < _FEW else ("resnet18", "mobilenet_v2")

    def radius(self) -> tuple[str, str, str]:
        """Return eps, half of it, and the reason for this eps."""
        if self.grey and self.side <= 16:
            return "0.2", "0.1", "tiny grey images are still recognisable under 0.2; up to 0.3 is usual"
        if self.grey and self.side <= 32:
            return "0.1", "0.05", "usual for grey images such as Fashion-MNIST; 0.3 is usual for MNIST's bold strokes"
        if self.side < 64:
            return "8/255", "4/255", "usual for images of about 32 x 32"
        return "4/255", "2/255", "usual from 64 x 64 on, where a perturbation is easier to see"

    @property
    def _images(self) -> int:
        return sum(self.found.counts["train"])

    def _rate(self, method: str) -> float:
        """Return the learning rate: measured for students convnet-4 and ResNet-8, the papers' for larger networks."""
        small = method == "rslad" and self._images < _FEW
        return (0.4 if small else 0.1) * (1 if self._images >= 500 else 0.5)

    @property
    def _augment(self) -> str:
        characters = all(len(name) == 1 for name in self.found.collection.classes)
        return "shift" if characters or self.side <= 16 else "crop_flip"

    def _written(self, title: str, method: str, network: str, teacher: str = "") -> str:
        (eps, step, why), epochs = self.radius(), 60 if self._images < _FEW else 30
        resize = f"  size: {self.resized}  # the shorter side is resized to it, then a centre crop is taken\n"
        text = _TEMPLATE.format(
            title=title, method=method, student=network, teacher=teacher,
            name=json.dumps(self.name), size=resize if self.resized else "", augment=self._augment,
            eps=eps, step=step, why=why, images=self._images,
            rate=self._rate(method),
            epochs=round(epochs * _LONGER[method]), tens=epochs,
            batch=16 if self._images < 500 else 64 if self._images < _FEW else 128,
            precision="fp32" if self.side <= 16 else "auto",
        )  # fmt: skip
        from ..recipe import Recipe

        Recipe.from_yaml(text, "the recipe")  # a wrong size is refused before anything is written
        return text


def _plan(name: str, student: Path, teacher: Path | None) -> Iterator[list[str]]:
    run = f"runs/{name}"
    if teacher:
        yield ["train", str(teacher), "--out", f"{run}.teacher"]
    yield ["train", str(student), "--out", run]
    yield ["evaluate", run]
    yield ["export", run, "--to", "onnx-int8"]


def _slug(reference: str) -> str:
    """Return a file name for a data reference such as `hf:OWNER/NAME` or `../flowers.csv`."""
    name = re.split(r"[/\\:]", reference.rstrip("/\\"))[-1]
    stem = re.sub(r"\.(npz|csv|tsv|parquet)$", "", name, flags=re.I)
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "data"


def _classes(found: "Survey") -> Table:
    shown = columns("class", *found.counts)
    rows = list(zip(found.collection.classes, *found.counts.values(), strict=True))
    for name, *counts in rows[:_SHOWN]:
        shown.add_row(Text(name), *map(str, counts))
    if len(rows) > _SHOWN:
        shown.add_row(f"and {len(rows) - _SHOWN} more", *[""] * len(found.counts))
    shown.add_row("all", *(str(sum(counts)) for counts in found.counts.values()), style="bold")
    return shown


def _lines(found: "Survey") -> Iterator[str]:
    counts = found.counts["train"]
    ratio = max(counts) / min(counts)
    yield f"balance: the largest class has {ratio:.1f} times the images of the smallest{_unequal(ratio)}"
    sizes = [f"{width} x {height} ({n})" for (height, width), n in found.sizes.most_common(3)]
    yield f"sizes: {', '.join(sizes)}{f' and {len(found.sizes) - 3} more' if len(found.sizes) > 3 else ''}"
    colour, alpha = sum(header.colour for header in found.headers), sum(header.alpha for header in found.headers)
    all_rgb = ", so all are read as RGB" if colour else ""
    yield f"channels: {colour} of {len(found.headers)} images in colour{all_rgb}"
    if alpha:
        yield f"transparency: {alpha} images, put on a white background"
    repeated = ", ".join(f"{n} within {split}" for split, n in found.repeated.items())
    yield f"exact duplicates: {repeated}, {found.shared} of test in train{_flattering(found.shared)}"
    if found.conflicting_labels:
        yield f"contradictions: {found.conflicting_labels} images have more than one class"
    yield from found.collection.notes
    yield f"unreadable: {len(found.faults)}"


def _unequal(ratio: float) -> str:
    return "; check each class's accuracy, not only the mean" if ratio >= 3 else ""


def _flattering(shared: int) -> str:
    return ", which makes every accuracy too high; remove them" if shared else ""
