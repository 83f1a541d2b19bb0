"""Files that coverage leads to (atheris, `pip install atheris`): inputs that reach new lines are mutated further.

    python tests/hostile/guided.py --seconds 60 --out benchmarks/results/hostile_guided.md
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

os.environ["OMP_NUM_THREADS"] = "1"
sys.dont_write_bytecode = True
FORMS = ["recipe.yaml", "result.json", "state.pt", "advdistill checkpoint", "checkpoint, .pt", "IDX", "CIFAR", "npz",
         "model reference"]  # fmt: skip


def main(forms: list[str], seconds: int, out: Path | None) -> int:
    from receipt import receipt

    lines, worst = [HEAD], 0
    for form in forms:
        done = subprocess.run([sys.executable, __file__, "--fuzz", form, "--seconds", str(seconds)],
                              capture_output=True, text=True)  # fmt: skip
        worst = max(worst, abs(done.returncode))
        found = re.findall(r"#(\d+)\s.*? cov: (\d+) .*? corp: \S+", done.stderr)
        first, last = (found[0], found[-1]) if found else (("0", "0"), ("0", "0"))
        runs = re.findall(r"Done (\d+) runs", done.stderr)
        sizes = re.findall(r" lim: (\d+) ", done.stderr)
        outcome = "clear" if done.returncode == 0 else (done.stderr or done.stdout)[-1500:]
        cells = [form, (runs or [last[0]])[-1], first[1], last[1], (sizes or ["?"])[-1], outcome]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if out:
        out.write_text("\n".join([ABOUT, *lines, "", receipt(), ""]))
    return worst


def fuzz(form: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["advdistill"]):
        from formats import FORMATS
    from fuzzing import PREPARED, _inside, _place
    from guarded import guarded

    from examples import sealed

    kind = FORMATS[form]
    with tempfile.TemporaryDirectory() as name, _inside(Path(name)):
        place, corpus = Path(name), Path(name, "corpus")
        (place / PREPARED).mkdir()
        kind.prepare(place / PREPARED)
        corpus.mkdir()
        (corpus / "valid").write_bytes(kind.valid())

        def one(content: bytes) -> None:
            run = _place(kind, sealed(content) if kind.seal else content, place)
            outcome = guarded(lambda: kind.read(run), run)
            if outcome.kind == "other" or outcome.outside:
                raise RuntimeError(f"{outcome.said} {outcome.outside}")

        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-seed=1", "-rss_limit_mb=6000", str(corpus)], one)
        atheris.Fuzz()


ABOUT = """# Hostile files that coverage leads to

As in [hostile files](hostile.md), drawn by atheris (libFuzzer): a file that reaches a line of advdistill which none
reached before is kept and mutated further. Lines and branches: reached by the valid example, and at the end.
"""
HEAD = "| form | files | by the valid one | at the end | longest, bytes | outcome |\n|---|--:|--:|--:|--:|---|"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forms", nargs="+", default=FORMS)
    parser.add_argument("--seconds", type=int, default=60, help="for each form")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    parser.add_argument("--fuzz", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.exit(fuzz(given.fuzz, given.seconds) if given.fuzz else main(given.forms, given.seconds, given.out))
