"""Commands that take every field of a recipe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg

HELP = ("-h", "--help")


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
class Preflight(Train):
    """Before a training: are data and teachers what they should be, how long will it take? Exit code 1 if refused."""


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
    loggers: tuple[str, ...] = ()
    """wandb, mlflow: they take each epoch's figures, as metrics.jsonl and TensorBoard do."""


@dataclass(frozen=True)
class Ahead:
    """What is expected of a training."""

    claim_clean: float | None = None
    """Clean accuracy that the robust teacher is said to have, a fraction; a RobustBench name knows its own."""
    claim_robust: float | None = None
    """The same under attack."""
    budget: str | None = None
    """Time for the run, 90m, 4h or 2d; where it does not fit, cheaper runs are timed."""
    price: float | None = None
    """Of an hour of this machine."""
    accelerator: str = "auto"
    """cpu, cuda, mps or auto, as Lightning Fabric understands them."""


WITH_RECIPE = {"train": (Train, Where), "preflight": (Preflight, Ahead)}


def with_recipe(command: str, *argv: str) -> int:
    """The choice of recipe, method and threat decides which fields there are, so it is read first."""
    choices, others = WITH_RECIPE[command]
    if argv and argv[0] in HELP:
        tyro.cli(choices, args=argv, prog=f"advdistill {command}")
    choice, rest = tyro.cli(choices, args=argv, return_unknown_args=True, add_help=False)

    from ..commands import preflight, training
    from ..recipe import Recipe

    @dataclass(frozen=True)
    class Fields:
        recipe: Annotated[Recipe, arg(name="")]
        run: Annotated[others, arg(name="")]  # type: ignore[valid-type]  # known at run time only

    chosen = training.choose(choice.recipe, choice.method, choice.threat)
    default = Fields(chosen, Where(out=Path("runs", Path(choice.recipe).name)) if others is Where else others())
    program = f"advdistill {command} {choice.recipe}"
    given = tyro.cli(AvoidSubcommands[Fields], default=default, args=rest, prog=program)
    run = training.train if command == "train" else preflight.preflight
    return run(given.recipe, **vars(given.run))
