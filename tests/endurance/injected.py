"""Faults that a child causes in itself: it dies or its disk is full at the n-th moment of writing; its loss is NaN."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from advdistill._internal import files
from advdistill.train import logging as metrics
from advdistill.train import trainer as loop
from advdistill.train.step import Step

Happening = Callable[[], None]


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full(size: int) -> Happening:
    """Return a fault: from then on, files cannot grow beyond `size` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def saving_often() -> None:
    loop.SAVE_SECONDS = 0


def breaking(step: int, until: int) -> None:
    """Make the losses and a weight tensor NaN after `step`, until the run was rolled back `until` times."""

    def broken(self, *arguments):
        at, means = self.state.at, descend(self, *arguments)
        if at.step == step and at.rollbacks < until:
            next(self.student.parameters()).data.fill_(float("nan"))
            return {name: mean * float("nan") for name, mean in means.items()}
        return means

    descend = Step.__call__
    Step.__call__ = broken


def writing(happening: Happening, moment: int) -> None:
    """Call `happening` at the n-th moment of writing files; n is `moment`.

    A file has these moments: before it is begun, half-written, and before and after each renaming. A line of the
    metrics has one: half-written.
    """
    passed, replace, rename, append = [0], files._replace, os.replace, files.append

    def moment_passes(before: Happening | None = None) -> None:
        passed[0] += 1
        if passed[0] == moment:
            if before:
                before()
            happening()

    def replacing(path: Path, temporary: Path, write: Callable[[Path], None], keep: Path | None) -> None:
        def halved(file: Path) -> None:
            write(file)
            moment_passes(lambda: os.truncate(file, file.stat().st_size // 2) if happening is killed else None)

        moment_passes()
        replace(path, temporary, halved, keep)

    def renaming(source: Path, target: Path) -> None:
        moment_passes()
        rename(source, target)
        moment_passes()

    def appending(path: Path, text: str) -> None:
        moment_passes(lambda: append(path, text[: len(text) // 2]) if happening is killed else None)
        append(path, text)

    files._replace, os.replace, metrics.append = replacing, renaming, appending
