"""Command, commit, machine and date of a measurement, and cells of its tables."""

import platform
import shlex
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch


def receipt() -> str:
    """Return the lines for the head of a result: command, commit, machine, date."""
    commit = _git("rev-parse", "--short", "HEAD")
    # results that an earlier benchmark wrote do not change what is measured
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results")
    return "\n".join([
        f"- command: `{shlex.join(['python', *sys.argv])}`",
        f"- commit: {commit}{'-dirty' if changed else ''}, torch {torch.__version__}",
        f"- machine: {_processor()}, {torch.get_num_threads()} threads" + _gpu(),
        f"- date: {date.today()}",
    ])  # fmt: skip


def cell(values: list[float], digits: int = 1) -> str:
    """Return the mean, and the standard deviation of two values or more."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _git(*arguments: str) -> str:
    told = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
    return told.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def _gpu() -> str:
    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
