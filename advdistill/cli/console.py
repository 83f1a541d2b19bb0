"""Output of the commands: results to stdout, progress to stderr, printed by the first process only."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .._internal.reading import shown

if TYPE_CHECKING:
    from ..results.result import Result

__all__ = [
    "CONSOLE", "Terminal", "check_results", "columns", "is_first", "not_measured_here", "say", "show", "tell", "typed",
]  # fmt: skip


class Terminal(Console):
    """A console that replaces control characters, which names of runs, classes and attacks may contain."""

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        for part in super().render(*arguments, **options):
            yield part if part.control else Segment(shown(part.text), part.style)


CONSOLE = Terminal(highlight=False)


def typed() -> str:
    """Return this process's command line: `advdistill ...`, or `python SCRIPT ...` if a script calls a command."""
    program = Path(sys.argv[0])
    ours = program.name == "advdistill" or program.parts[-2:] == ("advdistill", "__main__.py")
    return shlex.join([*(["advdistill"] if ours else ["python", sys.argv[0]]), *sys.argv[1:]])


def is_first() -> bool:
    """Return whether this process prints: the only process, or the first of several."""
    import torch

    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def say(line: str) -> None:
    """Print a line of progress to stderr."""
    print(line, file=sys.stderr, flush=True)


def tell(line: str, *, wrap: bool = True) -> None:
    """Print a line of a command's result to stdout; `wrap` breaks it at the terminal's width."""
    CONSOLE.print(line, markup=False, soft_wrap=not wrap)


def columns(*names: str, **options: Any) -> Table:
    """Return an empty table with these columns."""
    return Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, **options)


def not_measured_here(file: Path, attacks: Sequence[str]) -> str:
    """Return the message that `attacks` of a result were measured by somebody else, or by an earlier version."""
    return (
        f"{file} also has {', '.join(attacks)}, not signed with this user's key (~/.cache/advdistill/key, or the file "
        "that ADVDISTILL_KEY names) and not shown: "
        f"advdistill verify {file.parent} checks it."
    )


def check_results(paths: Sequence[Path]) -> None:
    """Raise ValueError if a result was measured on other weights than those next to it. Import torch only if needed."""
    from ..results.weights import check_result

    def digest(path: Path) -> str | None:
        from ..run import digest_of_loaded

        return digest_of_loaded(path)

    for path in paths:
        check_result(path, digest)


def show(results: Sequence["Result"]) -> None:
    """Print results as a table."""
    from ..report.compare import remarks, table

    if is_first():
        CONSOLE.print(table(results))
        for line in filter(None, (result.headline for result in results)):
            tell(line)
        for line in remarks(results):
            CONSOLE.print(Text(line, style="yellow"))
