"""Submit the workers of a study as a SLURM array, by submitit."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .._internal.packages import require

__all__ = ["submit"]

CLUSTER = "cluster"  # an option of submitit: slurm, local (processes on this machine) or debug


def submit(
    arguments: Sequence[str], options: Sequence[str], workers: int, logs: Path, say: Callable[[str], None]
) -> bool:
    """Submit workers without waiting for them.

    Args:
        arguments: the arguments of `advdistill study` for one worker.
        options: NAME=VALUE; SLURM's own with the prefix `slurm_`, submitit's without, such as `timeout_min=600`.
        logs: the folder for the workers' output.

    Returns:
        False: no cell is done yet. The same command with `--tables` instead of `--slurm` later shows what is done.

    Raises:
        ValueError: a malformed option, or one that submitit does not have.
        ImportError: submitit is missing.
    """
    submitit = require("submitit", "--slurm", "slurm")
    given = dict(_option(one) for one in options)
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=given.pop(CLUSTER, "slurm"))
        executor.update_parameters(**given)
    except (NameError, ValueError, TypeError) as error:
        raise ValueError(f"--slurm: {error}") from None
    command = [sys.executable, "-m", "advdistill", "study", *arguments]
    with executor.batch():
        jobs = [executor.submit(submitit.helpers.CommandFunction(command)) for _ in range(workers)]
    say(f"submitted {', '.join(job.job_id for job in jobs)}; output in {logs}. "
        "The same command without --slurm, with --tables, shows what is done.")  # fmt: skip
    return False


def _option(text: str) -> tuple[str, str | int]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--slurm takes NAME=VALUE, such as slurm_partition=gpu timeout_min=600; got {text!r}.")
    return name, int(value) if value.isdigit() else value
