"""Results as Markdown, CSV and LaTeX tables, and as an entry of RobustBench's model_info files."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from ..results.result import Measurement, Result
from .compare import distinct, mean_over_seeds, mismatches, remarks
from .loading import LoadedResult, load_result

__all__ = [
    "KINDS", "Kind", "latex_notes", "latex_table", "latex_text", "markdown_table", "markdown_text", "robustbench_entry",
    "tables",
]  # fmt: skip

Kind = Literal["markdown", "csv", "latex"]
KINDS: dict[str, Kind] = {".md": "markdown", ".csv": "csv", ".tex": "latex"}  # by file suffix
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
    """Return run folders or result files as the text of one table.

    Markdown and LaTeX (booktabs) have a row for each model, in per cent; CSV has a row for each measurement, in
    fractions.

    Raises:
        FileNotFoundError: a folder or file has no result.
        ValueError: no path is given, the kind is unknown, or a file is damaged.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"A table is one of {', '.join(get_args(Kind))}, got {kind!r}.")
    if not paths:
        raise ValueError("Nothing to tabulate. Name run folders or result files: advdistill report runs/*")
    runs = [load_result(path) for path in paths]
    text = {"markdown": _markdown, "csv": _csv, "latex": _latex}[kind](runs)
    return text.encode(errors="replace").decode()  # a path may contain bytes that are not text


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
    """Yield the header, then a row for each model and for each summary over seeds."""
    attacks = _attack_names(runs)
    yield [escape(name) for name in ("model", *attacks, "n", "threat", "seed")]
    for r in (run.result for run in runs):
        known = {m.attack: cell.format(*(100 * v for v in (m.accuracy, *m.interval))) for m in r.measurements}
        images = ", ".join(distinct(str(m.n) for m in r.measurements))
        yield [escape(r.model), *(known.get(a, "–") for a in attacks), images, escape(r.threat), str(r.seed)]
    for name, figures in mean_over_seeds(runs):
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
    """Return a Markdown table of these cells, the header first; all columns but the first are right-aligned."""
    head, *others = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *others))


def latex_table(rows: Iterable[Sequence[str]], alignment: str) -> str:
    """Return a LaTeX table of these cells, the header first, for the package booktabs."""
    head, *others = (f"{' & '.join(cells)} \\\\" for cells in rows)
    lines = ["\\begin{tabular}{" + alignment + "}", "\\toprule", head, "\\midrule", *others, "\\bottomrule"]
    return "\n".join([*lines, "\\end{tabular}"]) + "\n"


def latex_notes(lines: Iterable[str]) -> str:
    """Return LaTeX comments to put above a table: the package that it needs, then these lines."""
    return "".join(f"{line}\n" for line in ("% \\usepackage{booktabs}", *(f"% {latex_text(one)}" for one in lines)))


def markdown_text(text: str) -> str:
    """Escape text for GitHub and for the documentation's site, whose Python-Markdown knows fewer backslash escapes."""
    return "".join(MARKDOWN.get(sign, sign) for sign in " ".join(text.split()))


def latex_text(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def robustbench_entry(result: Result) -> dict[str, str]:
    """Return the fields of a RobustBench entry that a result provides: dataset, eps, and accuracies in per cent.

    Left out, because a result does not have them: link, name, authors, venue, architecture, additional_data,
    number_forward_passes, and reported, which is the figure in the authors' paper. The footnote says how many images
    were measured and how, because the leaderboard's figures are for plain AutoAttack on the whole test split.

    Raises:
        ValueError: the result is not for a test split, or has neither clean nor AutoAttack accuracy.
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
