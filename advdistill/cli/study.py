"""`advdistill study`."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from .._internal.files import make_folder, write_atomic
from .._internal.malloc import keep_freed_memory
from .console import CONSOLE, say, tell

if TYPE_CHECKING:
    from ..study.folder import StudyFolder
    from ..study.matrix import Cell
    from ..study.matrix import Study as Matrix

__all__ = ["Study"]


@dataclass(frozen=True)
class Study:
    """Train and evaluate a matrix of recipes, and report the effect of each choice; the same command resumes it.

    advdistill study study.yaml --workers 2
    """

    study: Positional[Path]
    """A YAML file such as `{recipe: digits.rslad, axes: {method: [pgd_at, rslad], seed: [0, 1, 2]}}`."""
    out: Path | None = None
    """The study's folder; if omitted, runs/NAME for NAME.yaml. Any number of workers may share it."""
    workers: int = 1
    """Processes on this machine that train and evaluate cells; each gets an equal share of the CPU cores."""
    cells: tuple[str, ...] = ()
    """Names of the cells to run; if omitted, all. A cell is one combination of the study's choices."""
    print: bool = False
    """Print a command for each unfinished cell, for a scheduler of your own, and run nothing."""
    tables: bool = False
    """Write the tables of the finished cells, and run nothing."""
    held_out: bool = False
    """Evaluate on all training images that each run held out for validation, instead of the test split: to choose a
    recipe. The figures are in held_out/ and held_out.md."""
    slurm: tuple[str, ...] = ()
    """Submit workers as a SLURM array by submitit, e.g. slurm_partition=gpu timeout_min=600 slurm_gpus_per_node=1."""

    def __call__(self) -> int:
        if not self.study.exists():
            raise FileNotFoundError(
                f"There is no study file {self.study}. One to begin with: "
                "'{recipe: digits.pgd_at, axes: {method: [pgd_at, trades], seed: [0, 1, 2]}}'."
            )
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}.")
        keep_freed_memory()

        from ..study.folder import StudyFolder
        from ..study.matrix import Study as Matrix
        from ..study.page import check

        study = Matrix.load(self.study)
        out = self.out or Path("runs", self.study.stem)
        folder, chosen = StudyFolder(out, study, self.held_out), self._chosen(study)
        for line in study.missing_baselines():
            say(line)
        if self.print:
            for cell in chosen:
                if not folder.done(cell):
                    tell(shlex.join(["advdistill", "study", *self._arguments(out, [cell.name])]), wrap=False)
            return 0
        check()
        make_folder(out)
        done = self.tables or self._run(folder, chosen)
        _write(folder)
        return 0 if done else 1

    def _arguments(self, out: Path, cells: Sequence[str]) -> list[str]:
        """Return the arguments of a command that runs these cells, or all cells if none are given."""
        held_out = ["--held-out"] if self.held_out else []
        return [str(self.study), "--out", str(out), *held_out, *(["--cells", *cells] if cells else [])]

    def _chosen(self, study: "Matrix") -> "list[Cell]":
        from .._internal.messages import unknown

        known = {cell.name: cell for cell in study.cells}
        for name in self.cells:
            if name not in known:
                raise unknown(f"cell of {self.study}", name, known)
        return [cell for name, cell in known.items() if not self.cells or name in self.cells]

    def _run(self, folder: "StudyFolder", chosen: "list[Cell]") -> bool:
        """Run the unfinished cells among `chosen`; return whether all are done then."""
        from ..study.worker import work
        from ..train.signals import Interrupted
        from .early import check_teachers

        left = [cell for cell in chosen if not folder.done(cell)]
        for cell in left:
            check_teachers(cell.recipe)
        say(f"{len(chosen) - len(left)} of {len(chosen)} cells are done")
        again = self._arguments(folder.folder, self.cells)
        if self.slurm and left:
            from ..study.slurm import submit

            return submit(again, self.slurm, self.workers, folder.folder / "slurm", say)
        try:
            if self.workers > 1 and left:
                return _run_workers(again, min(self.workers, len(left)))
            return work(folder, say, chosen)
        except Interrupted as stopped:
            say(f"stopped; the same command continues ({stopped})")
            raise SystemExit(128 + stopped.signum) from None


def _run_workers(arguments: list[str], workers: int) -> bool:
    """Run workers as separate processes, which end with this one; return whether all of them succeeded."""
    from ..train.signals import StopSignals

    share = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": share, **os.environ}
    command = [sys.executable, "-m", "advdistill", "study", *arguments]
    with StopSignals() as stop:
        running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(workers)]
        try:
            stop.at_once = True
            codes = [one.wait() for one in running]
        finally:
            stop.at_once = False
            for one in running:
                one.terminate()  # does nothing if the process has ended
                one.wait()
    if stopped := [code for code in codes if code > 2]:
        raise SystemExit(stopped[0])
    return not any(codes)


def _write(folder: "StudyFolder") -> None:
    """Print the table of the finished cells, and write it to the study's folder in each format."""
    from ..study.findings import findings
    from ..study.page import page
    from ..study.tables import csv, latex, markdown, shown

    found = findings(folder)
    CONSOLE.print(shown(found))
    if not found.groups:
        return
    stem = "held_out" if folder.held_out else "study"
    texts = {".md": markdown(found), ".csv": csv(found), ".tex": latex(found), ".html": page(found)}
    files = [folder.folder / (stem + ending) for ending in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_atomic(file, partial(Path.write_text, data=text))
    say(f"written to {', '.join(map(str, files))}")
