"""The command line. Each command has a file with a dataclass of its arguments and the code that runs it.

`--help`, `--version` and errors in arguments should appear at once, so these files import only fast modules at the
top; torch and modules that need it are imported by the function that runs the command.
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from .._internal.imports import forbid
from .._internal.messages import unknown
from .._internal.packages import about, check_torch
from .._internal.reading import printable
from .compare import Compare
from .evaluate import Evaluate
from .export import Export
from .init import Init
from .list import List
from .preflight import Preflight, run_preflight
from .push import Push
from .quickstart import Quickstart
from .report import Report
from .sentences import parsed
from .status import Status
from .study import Study
from .train import Train, run_train
from .verify import Verify

__all__ = ["main"]


FORBID = "--no-python-refs"
ABOUT = (
    f"{FORBID} with any command: run no Python code that a recipe, run folder or argument names. "
    "--version: print it, and torch's and Python's."
)

Command = (
    Init | Preflight | Train | Evaluate | Verify | Compare | Report | Study | Export | Push | List | Quickstart | Status
)
NAMES = [command.__name__.lower() for command in get_args(Command)]
WITH_RECIPE = {"train": run_train, "preflight": run_preflight}  # their arguments depend on the recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments after `advdistill`; by default those of this process.

    Returns:
        The exit code: 0; 1 if `verify` or `preflight` found something wrong, or a `study` has cells that are not done;
        2 for an error, explained on stderr; 128 + signal when interrupted.

    Raises:
        SystemExit: after `--help`, also if an argument next to it is invalid, or if a signal stopped a `study`.
    """
    given = sys.argv[1:] if argv is None else argv
    argv = [word for word in given if word != FORBID]
    if FORBID in given:
        forbid()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # torchmetrics imports it; it warns without a home folder
    if argv == ["--version"]:
        print(about())
        return 0
    with _warnings_in_one_line():
        return _run(argv)


def _run(argv: Sequence[str]) -> int:
    try:
        if argv and not argv[0].startswith("-") and argv[0] not in NAMES:
            raise unknown("command", argv[0], NAMES)
        check_torch()
        if argv[:1] and argv[0] in WITH_RECIPE:
            return WITH_RECIPE[argv[0]](argv[1:])
        command: Any = parsed(Command, args=argv, prog="advdistill", description=ABOUT)
        return command()
    except (ValueError, OSError, ImportError) as error:
        print(f"advdistill: {printable(error, most=2000)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advdistill: stopped.", file=sys.stderr)
        return 130


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Within the context, print this package's own warnings without a line number and a line of source code."""
    usual, package = warnings.formatwarning, Path(__file__).parents[1]

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).is_relative_to(package):
            return f"advdistill: warning: {printable(message, most=2000)}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual
