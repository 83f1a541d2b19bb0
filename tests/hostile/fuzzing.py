"""Mutated files of every format, each read with `guarded`."""

import contextlib
import io
import os
import random
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from formats import FORMATS, Format
from guarded import Outcome, guarded
from mutations import mutated

from examples import sealed

__all__ = ["Tally", "fuzz"]

PREPARED = "prepared"


@dataclass
class Tally:
    """The outcomes of the mutated files of one format."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)
    largest: int = 0

    def count(self, kind: str) -> int:
        return sum(outcome.kind == kind for outcome in self.outcomes)

    @property
    def outside(self) -> int:
        return sum(bool(outcome.outside) for outcome in self.outcomes)


def fuzz(files: int, seed: int, place: Path, kept: Path | None = None) -> Iterator[Tally]:
    """Read `files` mutated files, divided among the formats by their shares, and yield the tally of each format.

    Mutations are drawn from the seed, the format's name and the file's number.

    Args:
        kept: folder for files that raised an unexpected exception or acted outside their folder.
    """
    per_share = files / sum(kind.share for kind in FORMATS.values())
    with _inside(place):
        for name, kind in FORMATS.items():
            yield _tally(name, kind, max(1, round(per_share * kind.share)), seed, place, kept)


def _tally(name: str, kind: Format, files: int, seed: int, place: Path, kept: Path | None) -> Tally:
    tally, valid, run = Tally(name), kind.valid(), place / "run"
    shutil.rmtree(place / PREPARED, ignore_errors=True)
    (place / PREPARED).mkdir()
    kind.prepare(place / PREPARED)
    _place(kind, sealed(valid) if kind.seal else valid, place)
    kind.read(run)  # the valid file is accepted; this imports what later reads need
    for number in range(files):
        draw = random.Random(f"{seed}/{name}/{number}")
        content = mutated(valid, draw)
        if kind.seal and draw.random() < 0.9:
            content = sealed(content)
        outcome = _read(kind, content, place)
        tally.outcomes.append(outcome)
        tally.largest = max(tally.largest, len(content))
        if kept and (outcome.kind == "other" or outcome.outside):
            kept.mkdir(parents=True, exist_ok=True)
            (kept / f"{name.replace(' ', '_').replace('/', '_')}.{number}").write_bytes(content)
    shutil.rmtree(run, ignore_errors=True)
    return tally


def _read(kind: Format, content: bytes, place: Path) -> Outcome:
    run = _place(kind, content, place)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return guarded(lambda: kind.read(run), run)


def _place(kind: Format, content: bytes, place: Path) -> Path:
    run = place / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(place / PREPARED, run)
    kind.write(run, content)
    return run


@contextlib.contextmanager
def _inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", ADVDISTILL_NO_PYTHON_REFS="1")
    os.chdir(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(before)
        os.environ.pop("ADVDISTILL_NO_PYTHON_REFS")
