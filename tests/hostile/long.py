"""Read thousands of mutated files, `long.py --files 10000`: is each one read, or refused with a one-sentence error?"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.dont_write_bytecode = True
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from fuzzing import Tally, fuzz  # noqa: E402
from guarded import watch  # noqa: E402
from receipt import receipt  # noqa: E402

ABOUT = """# Hostile files

Valid examples of every form of file that advdistill opens are mutated (bits, cuts, splices, repetitions, numbers,
sizes) and read in one process. A clear error is a ValueError, OSError or ImportError of one readable sentence, which
the command line prints with exit code 2. Memory is the rise of the peak resident memory while a file was read. An
audit hook counts writes outside the file's folder, and processes and connections that are started.
"""


def table(tallies: list[Tally]) -> str:
    counted = "files | clear errors | read fine | other exceptions | slowest, ms | most memory, MB | largest, kB"
    lines = [f"| form | {counted} | wrote outside, ran or connected |", "|---|" + "---:|" * 8]
    total = Tally("all", [*itertools.chain(*(tally.outcomes for tally in tallies))], max(t.largest for t in tallies))
    for tally in [*tallies, total]:
        slowest = max(outcome.milliseconds for outcome in tally.outcomes)
        memory = max(outcome.megabytes for outcome in tally.outcomes)
        counts = " | ".join(str(tally.count(kind)) for kind in ("clear", "fine", "other"))
        lines.append(f"| {tally.name} | {len(tally.outcomes)} | {counts} | {slowest:.0f} | {memory:.1f} | "
                     f"{tally.largest / 1000:.1f} | {tally.outside} |")  # fmt: skip
    return "\n".join(lines)


def main(files: int, seed: int, out: Path | None, keep: Path | None) -> int:
    torch.set_num_threads(1)
    watch()
    began, tallies = time.monotonic(), []
    with tempfile.TemporaryDirectory() as place:
        for tally in fuzz(files, seed, Path(place), keep and keep.resolve()):
            tallies.append(tally)
            wrong = [o for o in tally.outcomes if o.kind == "other" or o.outside]
            said = "; ".join(sorted({f"{o.said[:150]} {o.outside or ''}" for o in wrong})[:8])
            print(f"{tally.name}: {len(wrong)} of {len(tally.outcomes)} wrong. {said}", file=sys.stderr, flush=True)
    made = f"{ABOUT}\n{table(tallies)}\n\n{receipt()}\n- {time.monotonic() - began:.0f} s, seed {seed}\n"
    print(made)
    if out:
        out.write_text(made)
    return int(any(o.kind == "other" or o.outside for tally in tallies for o in tally.outcomes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    parser.add_argument("--keep", type=Path, help="a folder for the files that a reader mishandled")
    sys.exit(main(**vars(parser.parse_args())))
