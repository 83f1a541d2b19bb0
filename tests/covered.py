"""Print a Markdown table of line and branch coverage by folder, from the data of `coverage combine`."""

from collections import defaultdict
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[1]
COLUMNS = "| folder | lines | run | branches | taken |\n|---|--:|--:|--:|--:|"


def counts(measured: Coverage, file: str) -> tuple[int, int, int, int]:
    """Return the numbers of lines, executed lines, branches and taken branches."""
    lines = measured.analysis2(file)
    branches = measured.branch_stats(file).values()
    missing = len(lines[3])
    return len(lines[1]), len(lines[1]) - missing, sum(all for all, _ in branches), sum(taken for _, taken in branches)


def main() -> None:
    measured, folders = Coverage(), defaultdict(list)
    measured.load()
    for file in (name for name in measured.get_data().measured_files() if name.endswith(".py")):  # no templates
        folders[Path(file).relative_to(ROOT).parts[1:-1][:1] or ("its own files",)].append(counts(measured, file))
    rows = {name: [sum(column) for column in zip(*found, strict=True)] for (name,), found in sorted(folders.items())}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    print(COLUMNS)
    for name, (lines, ran, branches, taken) in rows.items():
        print(f"| {name} | {lines:,} | {ran / lines:.1%} | {branches:,} | {taken / (branches or 1):.1%} |")


if __name__ == "__main__":
    main()
