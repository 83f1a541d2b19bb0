"""The command line, made from dataclasses that call their command; only then comes what is heavy to import."""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from .._internal.imports import forbid
from .._internal.reading import printable
from .._internal.versions import about, check_torch
from .evaluation import Evaluate, Verify
from .init import Init
from .reports import Compare, Report
from .shipping import Export, Push
from .start import List, Quickstart
from .status import Status
from .training import WITH_RECIPE, Preflight, Train, with_recipe

__all__ = ["main"]


FORBID = "--no-python-refs"
ABOUT = (
    f"{FORBID} with any command: run no Python code that a recipe, run folder or argument names. "
    "--version: print it, and torch's and Python's."
)

Command = Init | Preflight | Train | Evaluate | Verify | Compare | Report | Export | Push | List | Quickstart | Status


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for a mistake that is explained, 128 + signal when interrupted."""
    given = sys.argv[1:] if argv is None else argv
    argv = [word for word in given if word != FORBID]
    if FORBID in given:
        forbid()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without a home it makes do; others import it here
    if argv == ["--version"]:
        print(about())
        return 0
    try:
        check_torch()
        if argv[:1] and argv[0] in WITH_RECIPE:
            return with_recipe(*argv)
        command: Any = tyro.cli(Command, args=argv, prog="advdistill", description=ABOUT)
        return command()
    except (ValueError, OSError, ImportError) as error:
        print(f"advdistill: {printable(error, most=2000)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advdistill: stopped.", file=sys.stderr)
        return 130
