"""Cause accidents to training runs (`long.py --kills 100`): the same command must resume each to the same end."""

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]  # the package, training.py, receipt.py

import torch  # noqa: E402
from accidents import CYCLE, Outcome  # noqa: E402
from cases import cases  # noqa: E402
from receipt import receipt  # noqa: E402
from training import short  # noqa: E402

from advdistill.cli import main  # noqa: E402

ABOUT = """\
# Interrupted and damaged training runs, resumed

The test causes accidents that can happen to a training run, in child processes, at moments drawn from a seed; after \
each accident the same command resumes the run. A run counts as the same if weights, headers, metrics (without \
seconds) and every value of the final state equal those of an undisturbed run, bit for bit. The methods and their \
settings are those of `tests/endurance/cases.py`.
"""

def warm(folder: Path) -> None:
    """Train once here, which imports everything that a child needs; forking afterwards is safe on the CPU."""
    torch.set_num_threads(1)
    short("pgd_at", epochs=1).save(folder / "warm.yaml")
    main(["train", str(folder / "warm.yaml"), "--suite", "None", "--out", str(folder / "warm")])


def accidents(kills: int, seed: int, folder: Path) -> dict[str, list[Outcome]]:
    """Cause `kills` accidents, taking every kind and every method in turn; return the outcomes by kind."""
    every, outcomes = cases(folder), defaultdict(list)
    own = [case for case in every if case.images]
    turn = itertools.cycle(every)
    for number, (name, accident) in enumerate(itertools.cycle(CYCLE.items())):
        if sum(outcome.happened for outcome in itertools.chain(*outcomes.values())) >= kills:
            return outcomes
        case = own[0] if name == "data folder removed" else next(turn)
        outcome = accident(case, folder / f"run-{number}", random.Random(f"{seed}/{number}"))
        outcomes[name].append(outcome)
        print(f"{name}, {case.name}: {'; '.join(outcome.lost) or 'nothing lost'}", file=sys.stderr, flush=True)
    return outcomes


def table(outcomes: dict[str, list[Outcome]]) -> str:
    lines = ["| accident | happened | one clear sentence | runs | ended bit for bit the same | lost |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, kind in [*outcomes.items(), ("all", [*itertools.chain(*outcomes.values())])]:
        happened, said = sum(outcome.happened for outcome in kind), sum(outcome.said for outcome in kind)
        lost = sum(bool(outcome.lost) for outcome in kind)
        lines.append(f"| {name} | {happened} | {said or ''} | {len(kind)} | {len(kind) - lost} | {lost} |")
    return "\n".join(lines) + "\n"


def long(kills: int, seed: int, out: Path | None) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        warm(Path(folder))
        outcomes = accidents(kills, seed, Path(folder))
    made = f"{ABOUT}\n{receipt()}\n- {time.monotonic() - began:.0f} s, seed {seed}\n\n{table(outcomes)}"
    print(made)
    if out:
        out.write_text(made)
    return int(any(outcome.lost for outcome in itertools.chain(*outcomes.values())))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many accidents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    sys.exit(long(**vars(parser.parse_args())))
