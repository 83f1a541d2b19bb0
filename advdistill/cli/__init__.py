"""The command line, made from dataclasses that call their command; only then comes what is heavy to import."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg

from .evaluation import Evaluate, Verify
from .reports import Compare, Report
from .start import List, Quickstart

__all__ = ["main"]


@dataclass(frozen=True)
class Train:
    """Train a student; the same command again continues. `advdistill train RECIPE --help` shows every field."""

    recipe: Positional[str] = "digits.rslad"
    """A name of `advdistill list recipes`, or a YAML file."""
    method: str | None = None
    """Another method, e.g. adaad+igdm, or my_module:MyMethod."""
    threat: Literal["linf", "l2"] | None = None
    """Another threat model."""


@dataclass(frozen=True)
class Where:
    """Where a run is written and computed."""

    out: Path
    """The run's folder; the same command with the same folder continues."""
    suite: str | None = "quick"
    """Attacks on the test split when the training is done, as for `advdistill evaluate`; None for none."""
    accelerator: str = "auto"
    """cpu, cuda, mps or auto, as Lightning Fabric understands them."""
    devices: int = 1
    """Processes on this machine."""
    num_nodes: int = 1
    """Machines."""


Command = Train | Evaluate | Verify | Compare | Report | List | Quickstart


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for a mistake that is explained, 128 + signal when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _train(argv[1:]) if argv[:1] == ["train"] else tyro.cli(Command, args=argv, prog="advdistill")()
    except (ValueError, OSError, ImportError) as error:
        print(f"advdistill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advdistill: stopped.", file=sys.stderr)
        return 130


def _train(argv: list[str]) -> int:
    """The choice of recipe, method and threat decides which fields there are, so it is read first."""
    from .. import commands
    from ..recipe import Recipe

    choice, rest = tyro.cli(Train, args=argv, return_unknown_args=True, add_help=False)

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        run: Annotated[Where, arg(name="")]

    chosen = commands.choose(choice.recipe, choice.method, choice.threat)
    default = Fields(chosen, Where(out=Path("runs", Path(choice.recipe).name)))
    given = tyro.cli(AvoidSubcommands[Fields], default=default, args=rest, prog=f"advdistill train {choice.recipe}")
    return commands.train(given.recipe, **vars(given.run))
