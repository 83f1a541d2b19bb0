"""What a command says: results to stdout, progress to stderr, once for all processes."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.segment import Segment

from .._internal.reading import shown
from ..report.table import table
from ..results.result import Result

__all__ = ["CONSOLE", "is_first", "say", "show", "typed"]


class Terminal(Console):
    """Names of runs, classes and attacks may hold what a terminal would obey: it is shown instead."""

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        for part in super().render(*arguments, **options):
            yield part if part.control else Segment(shown(part.text), part.style)


CONSOLE = Terminal(highlight=False)


def typed() -> str:
    """What was typed to get here, which may be a script that calls a command."""
    program = Path(sys.argv[0])
    ours = program.name == "advdistill" or program.parts[-2:] == ("advdistill", "__main__.py")
    return shlex.join([*(["advdistill"] if ours else ["python", sys.argv[0]]), *sys.argv[1:]])


def is_first() -> bool:
    """Whether this is the only process, or the one that speaks for all."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(results: Sequence[Result]) -> None:
    if is_first():
        CONSOLE.print(table(results))
