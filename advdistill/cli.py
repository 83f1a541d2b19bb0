"""The command line, made from the dataclasses. Heavy imports happen inside the commands, so that --help is fast."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg

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


@dataclass(frozen=True)
class Evaluate:
    """Measure accuracy on the test split, clean and under attack."""

    model: Positional[str]
    """A run folder, or a checkpoint; see `advdistill list models`."""
    suite: str = "paper"
    """quick, paper, autoattack, blackbox or full; or attacks separated by commas."""
    data: str | None = None
    """Dataset; a run's own unless given."""
    folder: str | None = None
    """Where its files are, if not in the cache."""
    eps: str | None = None
    """Radius of the threat model, e.g. 8/255; a run's own unless given."""
    norm: Literal["linf", "l2"] | None = None
    """Threat model; a run's own unless given."""
    surrogate: str | None = None
    """Model whose adversarial images the transfer- attacks try; a run's own teacher unless given."""
    n: int | None = None
    """Only the first n images of the test split."""
    batch_size: int = 256
    accelerated: bool = False
    """Attacks search in bf16 (folded fp32 where that is not native), the fp32 model judges; claims take the default."""
    keep_images: bool = False
    """Keep the adversarial image of each counted break, for `advdistill verify`."""
    masking: bool = False
    """Also look for gradient masking, on 200 images; see docs/evaluation.md."""
    inspect: bool = False
    """Also make what `advdistill report` shows beyond counts: a curve, pictures, gradients; on 200 images."""
    seed: int = 0
    devices: int | str = 1
    """Processes that share the images, one to a device."""
    out: Path | None = None
    """Where result.json goes; into the run unless given. Interrupted, the same command continues."""


@dataclass(frozen=True)
class Compare:
    """Put the results of several runs into one table, and say who is ahead of the first."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files."""


@dataclass(frozen=True)
class Report:
    """Write a page (.html) of one or several runs, a table (.md, .csv, .tex), or a RobustBench entry (.json) of one."""

    runs: Positional[tuple[Path, ...]]
    """Run folders or result files; the first is what the others are compared with."""
    out: Path = Path("report.html")
    """The file to write."""
    as_is: bool = False
    """Show only what was measured before; otherwise missing pictures and masking verdicts of runs are made."""


@dataclass(frozen=True)
class Verify:
    """Look at a published result again: is every counted break inside eps and really wrong? Exit code 1 if not."""

    result: Positional[Path]
    """A run folder or a result file, beside which its verdicts and images lie (`evaluate --keep-images`)."""
    model: Positional[str | None] = None
    """The model it is about; a run's own unless given."""
    data: str | None = None
    """Dataset; the result's unless given."""
    folder: str | None = None
    """Where its files are, if not in the cache."""
    sample: int = 64
    """How many images that stand are attacked again, by other means."""


@dataclass(frozen=True)
class List:
    """Show what there is."""

    what: Positional[Literal["methods", "models", "datasets", "recipes"]]
    json: bool = False
    """As JSON."""


@dataclass(frozen=True)
class Quickstart:
    """Teacher, PGD-AT student, distilled student on 8 x 8 digits: trained, attacked, compared, in minutes."""

    out: Path = Path("runs/quickstart")
    """Where the runs and pictures go."""


Command = Train | Evaluate | Verify | Compare | Report | List | Quickstart


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for a mistake that is explained, 128 + signal when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _train(argv[1:]) if argv[:1] == ["train"] else _run(tyro.cli(Command, args=argv, prog="advdistill"))
    except (ValueError, OSError, ImportError) as error:
        print(f"advdistill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advdistill: stopped.", file=sys.stderr)
        return 130


def _run(command) -> int:
    from . import commands

    match command:
        case Evaluate():
            return commands.evaluate(**vars(command))
        case Compare():
            return commands.compare(command.runs)
        case Report():
            return commands.report(**vars(command))
        case Verify():
            return commands.verify(**vars(command))
        case List():
            return commands.describe(command.what, command.json)
        case Quickstart():
            return commands.quickstart(command.out)


def _train(argv: list[str]) -> int:
    """The choice of recipe, method and threat decides which fields there are, so it is read first."""
    from . import commands
    from .recipe import Recipe

    choice, rest = tyro.cli(Train, args=argv, return_unknown_args=True, add_help=False)

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        run: Annotated[Where, arg(name="")]

    chosen = commands.choose(choice.recipe, choice.method, choice.threat)
    default = Fields(chosen, Where(out=Path("runs", Path(choice.recipe).name)))
    given = tyro.cli(AvoidSubcommands[Fields], default=default, args=rest, prog=f"advdistill train {choice.recipe}")
    return commands.train(given.recipe, **vars(given.run))
