"""Results in the formats of others: Markdown, CSV and LaTeX tables, and an entry of RobustBench's model_info files."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from ..results.result import Measurement, Result
from .compare import distinct, mismatches, remarks, summed_up
from .loading import LoadedResult, load_result

__all__ = [
    "KINDS", "Kind", "latex_notes", "latex_table", "latex_text", "markdown_table", "markdown_text", "robustbench_entry",
    "tables",
]  # fmt: skip

Kind = Literal["markdown", "csv", "latex"]
KINDS: dict[str, Kind] = {".md": "markdown", ".csv": "csv", ".tex": "latex"}  # by the ending of a file
COLUMNS = ["model", "data", "threat", "seed", "attack", "n", "correct", "accuracy", "low", "high"]
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}  # fmt: skip
MARKDOWN = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "~": "&#126;", "$": "&#36;"} | {
    sign: f"\\{sign}" for sign in "\\`*_[]|#"
}
ACCURACIES = {"clean_acc": "clean", "autoattack_acc": "autoattack"}


def tables(paths: Sequence[Path | str], kind: Kind) -> str:
    """Run folders or result files as one table.

    Markdown and LaTeX (booktabs) have a row for each model, in per cent; CSV a row for each measurement, in fractions.

    Raises:
        FileNotFoundError: a folder or file without a result.
        ValueError: nothing named, an unknown kind, or a damaged file.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"A table is one of {', '.join(get_args(Kind))}, got {kind!r}.")
    if not paths:
        raise ValueError("Nothing to tabulate. Name run folders or result files: advdistill report runs/*")
    runs = [load_result(path) for path in paths]
    text = {"markdown": _markdown, "csv": _csv, "latex": _latex}[kind](runs)
    return text.encode(errors="replace").decode()  # a path may hold bytes that are no text


def _csv(runs: Sequence[LoadedResult]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        r = run.result
        for m in r.measurements:
            figures = (f"{value:.6f}" for value in (m.accuracy, *m.interval))
            writer.writerow([r.model, r.data, r.threat, r.seed, m.attack, m.n, m.correct, *figures])
    return file.getvalue()


def _markdown(runs: Sequence[LoadedResult]) -> str:
    table = markdown_table(_rows(runs, "{:.1f} ({:.1f}–{:.1f})", "{:.1f} ± {:.1f}", markdown_text))
    return "\n\n".join([table, *(markdown_text(line) for line in _notes(runs))]) + "\n"


def _latex(runs: Sequence[LoadedResult]) -> str:
    cell = r"${:.1f}$ {{\footnotesize $[{:.1f}, {:.1f}]$}}"
    rows = _rows(runs, cell, r"${:.1f} \pm {:.1f}$", latex_text)
    return latex_notes(_notes(runs)) + latex_table(rows, f"l{'r' * len(_attack_names(runs))}rlr")


def _rows(
    runs: Sequence[LoadedResult], cell: str, spread: str, escape: Callable[[str], str]
) -> Iterator[list[str]]:
    """The head, then a row for each model and for each sum over seeds."""
    attacks = _attack_names(runs)
    yield [escape(name) for name in ("model", *attacks, "n", "threat", "seed")]
    for r in (run.result for run in runs):
        known = {m.attack: cell.format(*(100 * v for v in (m.accuracy, *m.interval))) for m in r.measurements}
        images = ", ".join(distinct(str(m.n) for m in r.measurements))
        yield [escape(r.model), *(known.get(a, "–") for a in attacks), images, escape(r.threat), str(r.seed)]
    for name, figures in summed_up(runs):
        known = {attack: spread.format(*(100 * value for value in pair)) for attack, pair in figures.items()}
        yield [escape(name), *(known.get(attack, "–") for attack in attacks), "", "", ""]


def _attack_names(runs: Sequence[LoadedResult]) -> list[str]:
    return distinct(m.attack for run in runs for m in run.result.measurements)


def _notes(runs: Sequence[LoadedResult]) -> list[str]:
    results = [run.result for run in runs]
    return [_caption_of_runs(runs), *mismatches(results), *remarks(results)]


def _caption_of_runs(runs: Sequence[LoadedResult]) -> str:
    data = " or ".join(distinct(f"{run.result.data} ({run.result.fingerprint})" for run in runs))
    return f"Accuracy in % with its 95 % interval, on {data}."


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """A table of cells of Markdown, the head first; all columns but the first are aligned to the right."""
    head, *others = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *others))


def latex_table(rows: Iterable[Sequence[str]], alignment: str) -> str:
    """A table of cells of LaTeX, the head first, for the package booktabs."""
    head, *others = (f"{' & '.join(cells)} \\\\" for cells in rows)
    lines = ["\\begin{tabular}{" + alignment + "}", "\\toprule", head, "\\midrule", *others, "\\bottomrule"]
    return "\n".join([*lines, "\\end{tabular}"]) + "\n"


def latex_notes(lines: Iterable[str]) -> str:
    """Comments above a LaTeX table: the package that it needs, then these lines."""
    return "".join(f"{line}\n" for line in ("% \\usepackage{booktabs}", *(f"% {latex_text(one)}" for one in lines)))


def markdown_text(text: str) -> str:
    """The text as GitHub and the documentation's site show it: Python-Markdown knows fewer backslash escapes."""
    return "".join(MARKDOWN.get(sign, sign) for sign in " ".join(text.split()))


def latex_text(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def robustbench_entry(result: Result) -> dict[str, str]:
    """What a result knows of a RobustBench entry: dataset, eps, and the accuracies it has, in per cent.

    Left out, because a result does not know them: link, name, authors, venue, architecture, additional_data,
    number_forward_passes, and reported, which is the figure in the authors' paper. The footnote says how many images
    were measured and how: a leaderboard's figures are of the whole test split and of plain AutoAttack.

    Raises:
        ValueError: the result is of another split than a test split, or has neither accuracy.
    """
    dataset, _, split = result.data.rpartition("/")
    if split != "test":
        raise ValueError(f"RobustBench lists accuracies on test splits; this result is of {result.data}.")
    measured = {m.attack: m for m in result.measurements}
    known = {field: measured[attack] for field, attack in ACCURACIES.items() if attack in measured}
    if not known:
        raise ValueError(
            f"RobustBench lists clean and autoattack; this result has {', '.join(measured) or 'no measurement'}. "
            "Run --suite autoattack."
        )
    eps = result.threat.rpartition(" ")[2]
    accuracies = {field: f"{100 * m.accuracy:.2f}" for field, m in known.items()}
    return {"dataset": dataset, "eps": eps, **accuracies, "footnote": _robustbench_footnote(result, known)}


def _robustbench_footnote(result: Result, known: dict[str, Measurement]) -> str:
    said = [f"{field}: {m.n} images{m.settings and f', {m.settings}'}" for field, m in known.items()]
    version = result.versions.get("advdistill", "")
    return f"{'; '.join(said)}; {result.threat}, seed {result.seed}. Measured with advdistill {version}".rstrip() + "."
