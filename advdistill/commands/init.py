"""`advdistill init`: a look at somebody's images, and recipes for them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from .. import data as datasets
from .._internal.files import make_folder
from ..data.own.collection import Survey, survey
from ..data.own.stack import refusal
from .console import CONSOLE, say
from .draft import Draft

__all__ = ["init"]

_SHOWN = 12


def init(data: str, out: Path | None, size: int | None, teacher: str | None) -> int:
    student_file = out or Path(f"{_slug(data)}.yaml")
    if student_file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"{student_file} would not be read as a recipe; let --out end in .yaml.")
    name = student_file.stem
    teacher_file = None if teacher else student_file.with_name(f"{name}.teacher{student_file.suffix}")
    files = [file for file in (teacher_file, student_file) if file]
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} is there already; give another --out, or delete it.")
    collection = datasets.collect(data)
    say(f"looking at {len(collection)} images")
    seen = survey(collection)
    _summarise(seen)
    if seen.faults:
        raise refusal(collection, list(seen.faults))
    draft = Draft(seen, data, size)
    texts = [draft.teacher()] if teacher_file else []
    for file, text in zip(files, [*texts, draft.student(teacher or f"runs/{name}.teacher")], strict=True):
        make_folder(file.parent)
        with file.open("x") as stream:
            stream.write(text)
    _print("\nWritten: " + ", ".join(map(str, files)) + ". Look at them, then:\n")
    for command in _plan(name, student_file, teacher_file):
        CONSOLE.print(f"  advdistill {shlex.join(command)}", markup=False, soft_wrap=True)
    return 0


def _plan(name: str, student: Path, teacher: Path | None) -> Iterator[list[str]]:
    run = f"runs/{name}"
    if teacher:
        yield ["train", str(teacher), "--out", f"{run}.teacher"]
    yield ["train", str(student), "--out", run]
    yield ["evaluate", run]
    yield ["export", run, "--to", "onnx-int8"]


def _slug(reference: str) -> str:
    """A file's name for a reference such as `hf:OWNER/NAME` or `../flowers.csv`."""
    name = re.split(r"[/\\:]", reference.rstrip("/\\"))[-1]
    stem = re.sub(r"\.(npz|csv|tsv|parquet)$", "", name, flags=re.I)
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "data"


def _summarise(seen: Survey) -> None:
    CONSOLE.print(_classes(seen))
    for line in _lines(seen):
        _print(line)


def _classes(seen: Survey) -> Table:
    shown = Table("class", *seen.counts, box=box.SIMPLE_HEAD, pad_edge=False)
    rows = list(zip(seen.collection.classes, *seen.counts.values(), strict=True))
    for name, *counts in rows[:_SHOWN]:
        shown.add_row(Text(name), *map(str, counts))
    if len(rows) > _SHOWN:
        shown.add_row(f"and {len(rows) - _SHOWN} more", *[""] * len(seen.counts))
    shown.add_row("all", *(str(sum(counts)) for counts in seen.counts.values()), style="bold")
    return shown


def _lines(seen: Survey) -> Iterator[str]:
    counts = seen.counts["train"]
    ratio = max(counts) / min(counts)
    yield f"balance: the largest class has {ratio:.1f} times the images of the smallest{_unequal(ratio)}"
    sizes = [f"{width} x {height} ({n})" for (height, width), n in seen.sizes.most_common(3)]
    yield f"sizes: {', '.join(sizes)}{f' and {len(seen.sizes) - 3} more' if len(seen.sizes) > 3 else ''}"
    colour, alpha = sum(look.colour for look in seen.looks), sum(look.alpha for look in seen.looks)
    yield f"channels: {colour} of {len(seen.looks)} images in colour" + (", so all are read as RGB" if colour else "")
    if alpha:
        yield f"transparency: {alpha} images, laid on white"
    repeated = ", ".join(f"{n} within {split}" for split, n in seen.repeated.items())
    yield f"exact duplicates: {repeated}, {seen.shared} of test in train{_flattering(seen.shared)}"
    if seen.disputed:
        yield f"contradictions: {seen.disputed} images stand under more than one class"
    yield from seen.collection.notes
    yield f"unreadable: {len(seen.faults)}"


def _unequal(ratio: float) -> str:
    return "; look at each class's accuracy, not at the mean alone" if ratio >= 3 else ""


def _flattering(shared: int) -> str:
    return ", which flatters every figure; take them out" if shared else ""


def _print(line: str) -> None:
    CONSOLE.print(line, markup=False)
